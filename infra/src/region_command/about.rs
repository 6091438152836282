//! What has to be known of a new region: taken from flags, proposed where it can be, asked on a terminal.

mod interview;

use clap::Args;
use infra::jurisdiction::{self, Proposal};
use infra::registry::{self, NewRegion, OperationModel, Region, Role, Spool, kubernetes};
use ipnet::IpNet;
use protocol::{Country, RegionId};

use crate::one_line;
use interview::{Interview, list};

/// What its file says.
#[derive(Args)]
pub(crate) struct About {
    /// What people call it.
    #[arg(long, value_parser = one_line)]
    name: Option<String>,
    /// The countries whose data it holds, in capitals, with commas between.
    #[arg(long, value_delimiter = ',', value_name = "COUNTRIES")]
    countries: Vec<Country>,
    /// Who runs the machines, for example AWS.
    #[arg(long, value_parser = one_line)]
    provider: Option<String>,
    /// The provider's name of the place, for example us-west-2 (Oregon).
    #[arg(long, value_parser = one_line)]
    place: Option<String>,
    /// A data-protection law that applies; repeat it for more. Left out, those that are known of the countries.
    #[arg(long = "law", value_name = "LAW", value_parser = one_line)]
    laws: Vec<String>,
    /// What must be granted before it may serve; repeat it for more. Left out, what is known of the countries.
    #[arg(long = "licence", value_name = "LICENCE", value_parser = one_line)]
    licences: Vec<String>,
    /// Whose machines they are. Left out, ours.
    #[arg(long)]
    model: Option<OperationModel>,
    /// From the decision until it may serve, in weeks. Left out, what the countries usually take.
    #[arg(long, value_name = "WEEKS")]
    lead_time_weeks: Option<u8>,
    /// Whether records may wait at the edge, sealed, while its core is away. Left out, what the countries allow.
    #[arg(long)]
    spool: Option<Spool>,
    /// Below which its names are: core., replicator., kafka-1. and registry. of it, for example smp-us.example.com.
    #[arg(long, value_name = "NAME", value_parser = kubernetes::domain)]
    domain: Option<String>,
    /// How many brokers its Kafka has. Left out, 3.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=9))]
    brokers: Option<u8>,
    /// Where its images are. Left out, at registry. of the domain.
    #[arg(long, value_name = "HOST/PATH", value_parser = kubernetes::images)]
    images: Option<String>,
    /// From which addresses its MirrorMaker 2 calls on the hub's Kafka, in CIDR notation; repeat it for more.
    #[arg(long, value_name = "RANGE", value_parser = kubernetes::range)]
    leaves_from: Vec<IpNet>,
    /// Of which class its volumes are, for example gp3.
    #[arg(long, value_name = "CLASS", value_parser = kubernetes::object_name)]
    storage_class: Option<String>,
    /// The region whose replicas, sizes and namespaces it takes over; else the hub.
    #[arg(long, value_name = "REGION")]
    like: Option<RegionId>,
}

impl About {
    /// The text of the region's file, and the flags that say what was asked: on a terminal it asks for what no flag says;
    /// else the error names all of that.
    pub(super) fn text(
        &self,
        id: &RegionId,
        regions: &[Region],
    ) -> Result<(String, String), String> {
        let like = regions.iter().find(|region| match &self.like {
            Some(like) => region.id == *like,
            None => region.role == Role::Hub,
        });
        let like = like.ok_or_else(|| match &self.like {
            Some(like) => format!("--like {like}: the registry has no such region"),
            None => "the registry has no hub, of which replicas and sizes could be taken over: --like REGION".to_owned(),
        })?;
        let mut interview = Interview::new();
        let countries = if self.countries.is_empty() {
            interview.ask(
                "--countries",
                "The countries whose data it holds (US,CA)",
                None,
                |answer| list(answer, Country::parse),
            )
        } else {
            self.countries.clone()
        };
        let name = interview.or_ask(
            self.name.as_ref(),
            "--name",
            "What people call it (United States)",
            None,
            one_line,
        );
        let provider = interview.or_ask(
            self.provider.as_ref(),
            "--provider",
            "Who runs the machines (AWS)",
            None,
            one_line,
        );
        let place = interview.or_ask(
            self.place.as_ref(),
            "--place",
            "Where (us-west-2 (Oregon))",
            None,
            one_line,
        );
        let proposal = self.proposal(&countries, &mut interview);
        let domain = interview.or_ask(
            self.domain.as_ref(),
            "--domain",
            "Below which name its core, replicator and brokers are",
            Some(&format!("{id}.example.com")),
            kubernetes::domain,
        );
        let class = like
            .kubernetes
            .postgres
            .as_ref()
            .map(|postgres| postgres.storage_class.as_str());
        let storage_class = interview.or_ask(
            self.storage_class.as_ref(),
            "--storage-class",
            "Of which class its volumes are",
            class,
            kubernetes::object_name,
        );
        let leaves_from = if self.leaves_from.is_empty() {
            interview.ask(
                "--leaves-from",
                "From which addresses it calls on the hub's Kafka (198.51.100.30/32)",
                None,
                |answer| list(answer, kubernetes::range),
            )
        } else {
            self.leaves_from.clone()
        };
        interview.end(id)?;
        let text = NewRegion {
            id,
            name: &name,
            countries: &countries,
            provider: &provider,
            place: &place,
            laws: &proposal.laws,
            licences: &proposal.licences,
            model: self.model.unwrap_or(OperationModel::Own),
            lead_time_weeks: proposal.lead_time_weeks,
            spool: if proposal.may_wait {
                Spool::Sealed
            } else {
                Spool::Off
            },
            domain: &domain,
            brokers: self.brokers.unwrap_or(3),
            images: self.images.as_deref(),
            leaves_from: &leaves_from,
            storage_class: &storage_class,
            like,
        }
        .text();
        Ok((text, interview.flags()))
    }

    /// What law and licences say, by flags before what is known.
    fn proposal(&self, countries: &[Country], interview: &mut Interview) -> Proposal {
        let known = jurisdiction::propose(countries);
        let is_known = known.is_ok();
        let mut proposal = known.unwrap_or(Proposal {
            laws: Vec::new(),
            licences: Vec::new(),
            may_wait: false,
            lead_time_weeks: 4,
        });
        if !self.laws.is_empty() {
            proposal.laws.clone_from(&self.laws);
        } else if !is_known {
            proposal.laws = interview.ask(
                "--law",
                "Which data-protection laws apply, with commas between (nobody wrote down those of all these countries)",
                None,
                |answer| list(answer, one_line),
            );
        }
        if !self.licences.is_empty() {
            proposal.licences.clone_from(&self.licences);
        }
        proposal.may_wait = match self.spool {
            Some(spool) => spool == Spool::Sealed,
            None => proposal.may_wait,
        };
        proposal.lead_time_weeks = self.lead_time_weeks.unwrap_or(proposal.lead_time_weeks);
        proposal
    }

    /// What is said here and said otherwise by the file of a region that is there.
    pub(super) fn contradictions(&self, region: &Region) -> Vec<String> {
        let mut found = Vec::new();
        let mut hold = |option: &str, said: Option<String>, there: String| {
            if let Some(said) = said.filter(|said| *said != there) {
                found.push(format!("{option} {said} (it says {there})"));
            }
        };
        let joined = |texts: &[String]| (!texts.is_empty()).then(|| texts.join(", "));
        let codes = |countries: &[Country]| {
            let codes: Vec<_> = countries.iter().map(ToString::to_string).collect();
            codes.join(",")
        };
        hold("--name", self.name.clone(), region.name.clone());
        let countries = (!self.countries.is_empty()).then(|| codes(&self.countries));
        hold("--countries", countries, codes(&region.countries));
        hold(
            "--provider",
            self.provider.clone(),
            region.location.provider.clone(),
        );
        hold("--place", self.place.clone(), region.location.place.clone());
        hold(
            "--law",
            joined(&self.laws),
            region.jurisdiction.laws.join(", "),
        );
        hold(
            "--licence",
            joined(&self.licences),
            region.jurisdiction.licences.join(", "),
        );
        let weeks = self.lead_time_weeks.map(|weeks| weeks.to_string());
        hold(
            "--lead-time-weeks",
            weeks,
            region.operation.lead_time_weeks.to_string(),
        );
        let model = self.model.map(|model| model.as_str().to_owned());
        hold("--model", model, region.operation.model.as_str().to_owned());
        let spool = self.spool.map(|spool| spool.as_str().to_owned());
        hold("--spool", spool, region.spool.as_str().to_owned());
        let domain = self.domain.as_ref();
        let replicator = domain.map(|domain| format!("https://replicator.{domain}"));
        let there = region.replicator.as_ref().map(ToString::to_string);
        hold(
            "--domain: replicator",
            replicator,
            there.unwrap_or_default(),
        );
        let brokers = self.brokers.map(|brokers| brokers.to_string());
        let there = region.kafka.bootstrap_servers.len();
        hold("--brokers", brokers, there.to_string());
        let kubernetes = &region.kubernetes;
        hold("--images", self.images.clone(), kubernetes.images.clone());
        let ranges = |ranges: &[IpNet]| {
            let texts = ranges.iter().map(ToString::to_string);
            texts.collect::<Vec<_>>().join(", ")
        };
        let leaves_from = (!self.leaves_from.is_empty()).then(|| ranges(&self.leaves_from));
        hold(
            "--leaves-from",
            leaves_from,
            ranges(&kubernetes.leaves_from),
        );
        let class = kubernetes
            .postgres
            .as_ref()
            .map(|postgres| &postgres.storage_class);
        let class = class.or(kubernetes.kafka.as_ref().map(|kafka| &kafka.storage_class));
        hold(
            "--storage-class",
            self.storage_class.clone(),
            class.cloned().unwrap_or_default(),
        );
        found
    }
}

/// Whether a region of this text fits to the others; gives it.
pub(super) fn judge(
    text: &str,
    mut registry: registry::Registry,
) -> Result<registry::Registry, String> {
    let region = registry::parse(text)?;
    if let Some(there) = registry.regions.iter().find(|there| there.id == region.id) {
        return Err(format!("{} is there already", there.id));
    }
    registry.regions.push(region);
    registry.regions.sort_by(|one, other| one.id.cmp(&other.id));
    infra::render::all(&registry).map_err(|mistakes| mistakes.join("; "))?;
    Ok(registry)
}
