//! The file of a new region, with comments for whoever reads it next.

use std::fmt::Write as _;

use ipnet::IpNet;
use protocol::{Country, RegionId};

use super::{BROKER_PORT, OperationModel, Region, Spool};

/// A region that is not there yet.
#[derive(Debug, Clone)]
pub struct NewRegion<'r> {
    /// Its id.
    pub id: &'r RegionId,
    /// What people call it.
    pub name: &'r str,
    /// The countries whose data it holds.
    pub countries: &'r [Country],
    /// Who runs the machines.
    pub provider: &'r str,
    /// The provider's name of the place.
    pub place: &'r str,
    /// Data-protection laws.
    pub laws: &'r [String],
    /// What must be granted before it may serve.
    pub licences: &'r [String],
    /// Whose machines they are.
    pub model: OperationModel,
    /// From the decision until it may serve.
    pub lead_time_weeks: u8,
    /// Whether records may wait at the edge.
    pub spool: Spool,
    /// Below which its names are: `core.`, `replicator.`, `kafka-1.` and `registry.` of it.
    pub domain: &'r str,
    /// How many brokers its Kafka has.
    pub brokers: u8,
    /// Where the images are; else at `registry.` of the domain.
    pub images: Option<&'r str>,
    /// From where MirrorMaker 2 calls on the hub's Kafka.
    pub leaves_from: &'r [IpNet],
    /// Of which class volumes are.
    pub storage_class: &'r str,
    /// From which region replicas, sizes and namespaces are taken over.
    pub like: &'r Region,
}

impl NewRegion<'_> {
    /// The text of `infra/regions/<id>.toml`.
    #[must_use]
    pub fn text(&self) -> String {
        let (id, domain) = (self.id, self.domain);
        let countries: Vec<_> = self.countries.iter().map(ToString::to_string).collect();
        let brokers: Vec<_> = (1..=self.brokers)
            .map(|number| format!("kafka-{number}.{domain}:{BROKER_PORT}"))
            .collect();
        let spool = match self.spool {
            Spool::Sealed => {
                "# While the core is away, records may wait at the edge, sealed to this region's key.\n\
                 spool = \"sealed\" # sealed | off\n"
            }
            Spool::Off => {
                "# Whatever waits at the edge has left the region, sealed or not. Counsel decides whether it may.\n\
                 spool = \"off\" # sealed | off\n"
            }
        };
        let operation = match self.model {
            OperationModel::Own => "# We run it ourselves.",
            OperationModel::Partner => "# A partner runs it, who alone may log in there.",
        };
        let mut text = format!(
            "# The region of {name}: a database of its own, from which no personal data leaves.\n\
             id = {id}\nname = {name_quoted}\nrole = \"spoke\" # hub | spoke\ncountries = {countries}\n{spool}\
             # Where the hub asks how far master data is here.\nreplicator = {replicator}\n\n\
             [location]\nprovider = {provider}\nplace = {place}\n\n\
             # Whose law applies to what is kept here.\n[jurisdiction]\nlaws = {laws}\n",
            name = one_line(self.name),
            id = quoted(id.as_str()),
            name_quoted = quoted(self.name),
            countries = list(&countries),
            replicator = quoted(&format!("https://replicator.{domain}")),
            provider = quoted(self.provider),
            place = quoted(self.place),
            laws = list(self.laws),
        );
        if !self.licences.is_empty() {
            // Writing to a `String` cannot fail.
            let _ = writeln!(
                text,
                "# Each must be granted before the origin may answer (smpctl region sign-off --granted).\nlicences = {}",
                list(self.licences)
            );
        }
        let _ = write!(
            text,
            "\n{operation}\n[operation]\nmodel = \"{model}\" # own | partner\n\
             lead_time_weeks = {weeks} # from the decision until it may serve\n\n\
             # Master data arrives here, by MirrorMaker 2.\n[kafka]\nbootstrap_servers = {brokers}\n\
             replication_factor = {factor}\nsecurity_protocol = \"SASL_SSL\"\n\
             sasl_mechanism = \"SCRAM-SHA-512\" # PLAIN | SCRAM-SHA-512\n",
            model = self.model.as_str(),
            weeks = self.lead_time_weeks,
            brokers = list(&brokers),
            factor = self.brokers.min(3),
        );
        self.kubernetes(&mut text);
        text
    }

    fn kubernetes(&self, text: &mut String) {
        let like = &self.like.kubernetes;
        let leaves_from: Vec<_> = self.leaves_from.iter().map(ToString::to_string).collect();
        let images = self.images.map_or_else(
            || format!("registry.{}/smp-global", self.domain),
            ToOwned::to_owned,
        );
        let _ = write!(
            text,
            "\n# What `smpctl render` makes of it is in infra/rendered/kubernetes/{id}/ (docs/kubernetes.md).\n\
             [kubernetes]\nimages = {images} # where regional-core and replicator are\ncore_replicas = {replicas}\n\
             ingress_namespace = {ingress}\nmonitoring_namespace = {monitoring}\n\
             # From where MirrorMaker 2 calls on the hub's Kafka.\nleaves_from = {leaves_from}\n",
            id = self.id,
            images = quoted(&images),
            replicas = like.core_replicas,
            ingress = quoted(&like.ingress_namespace),
            monitoring = quoted(&like.monitoring_namespace),
            leaves_from = list(&leaves_from),
        );
        if let Some(postgres) = &like.postgres {
            let _ = write!(
                text,
                "\n# Left out where the provider runs the database.\n[kubernetes.postgres]\nimage = {}\ninstances = {}\n\
                 storage = {}\nstorage_class = {}\n",
                quoted(&postgres.image),
                postgres.instances,
                quoted(&postgres.storage),
                quoted(self.storage_class),
            );
            if let Some(store) = &postgres.backup_store {
                let _ = writeln!(
                    text,
                    "backup_store = {} # in the region's jurisdiction, as all else; made beforehand",
                    quoted(store)
                );
            }
        }
        if let Some(kafka) = &like.kafka {
            let _ = write!(
                text,
                "\n# Left out where the provider runs the brokers.\n[kubernetes.kafka]\nstorage = {}\nstorage_class = {}\n",
                quoted(&kafka.storage),
                quoted(self.storage_class),
            );
        }
    }
}

/// As TOML writes a text.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn list(texts: &[String]) -> String {
    let texts: Vec<_> = texts.iter().map(|text| quoted(text)).collect();
    format!("[{}]", texts.join(", "))
}

/// A comment ends with its line.
fn one_line(text: &str) -> String {
    text.split(char::is_control).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{Role, parse};

    #[test]
    fn what_is_written_is_what_was_said_whatever_is_in_it() {
        let like = parse(include_str!("../../regions/smp-china.toml")).unwrap();
        let id = RegionId::parse("smp-us").unwrap();
        let countries = [Country::parse("US").unwrap(), Country::parse("CA").unwrap()];
        let (laws, licences) = (["CPRA".to_owned()], ["A \"licence\"".to_owned()]);
        for name in ["United States", "a \"b\" \\ c\n[kafka]"] {
            let new = NewRegion {
                id: &id,
                name,
                countries: &countries,
                provider: "AWS",
                place: "us-west-2 (Oregon)",
                laws: &laws,
                licences: &licences,
                model: OperationModel::Partner,
                lead_time_weeks: 4,
                spool: Spool::Sealed,
                domain: "smp-us.example.com",
                brokers: 3,
                images: None,
                leaves_from: &["198.51.100.30/32".parse().unwrap()],
                storage_class: "gp3",
                like: &like,
            };
            let text = new.text();
            let region = parse(&text).unwrap_or_else(|mistake| panic!("{mistake}\n{text}"));
            assert_eq!(region.name, name);
            assert_eq!((&region.id, region.role), (&id, Role::Spoke));
            assert_eq!(region.countries, countries);
            assert_eq!(region.jurisdiction.laws, laws);
            assert_eq!(region.jurisdiction.licences, licences);
            assert_eq!(region.operation.model, OperationModel::Partner);
            assert_eq!(region.spool, Spool::Sealed);
            assert_eq!(region.kafka.bootstrap_servers.len(), 3);
            assert_eq!(region.kafka.replication_factor, 3);
            assert_eq!(
                region.replicator.unwrap().as_str(),
                "https://replicator.smp-us.example.com"
            );
            assert_eq!(
                region.kubernetes.images,
                "registry.smp-us.example.com/smp-global"
            );
            let postgres = region.kubernetes.postgres.unwrap();
            assert_eq!(postgres.storage_class, "gp3");
            assert_eq!(postgres.instances, 3);
        }
    }
}
