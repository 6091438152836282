//! `smpctl region sign-off`: who has agreed that a region serves.

use clap::Args;
use infra::files::{Readers, lock, read, replace};
use infra::registry::sign_off::{self, SignOff};
use infra::registry::{OperationModel, Spool};
use jiff::{Timestamp, civil, tz};
use protocol::RegionId;
use serde_json::json;

/// Counsel's leave.
#[derive(Args)]
pub(crate) struct Agree {
    /// Which region.
    region: RegionId,
    /// Who signs it off: name and office.
    #[arg(long)]
    by: String,
    /// Where their review is kept, for example LEGAL-42.
    #[arg(long)]
    reference: String,
    /// A licence of the region that was seen to be granted; repeat it for each.
    #[arg(long, value_name = "LICENCE")]
    granted: Vec<String>,
    /// When; else today.
    #[arg(long, value_name = "DATE")]
    at: Option<civil::Date>,
    /// The folder of the region registry.
    #[arg(long, default_value = "infra/regions", value_name = "FOLDER")]
    regions: std::path::PathBuf,
    /// Record it.
    #[arg(long)]
    yes: bool,
    /// Print JSON in place of lines.
    #[arg(long)]
    json: bool,
}

/// What to print.
pub(super) fn run(agree: &Agree) -> Result<(String, bool), String> {
    let today = Timestamp::now().to_zoned(tz::TimeZone::UTC).date();
    judge_words(agree, today)?;
    let _alone = lock(&agree.regions)?;
    let id = &agree.region;
    let file = agree.regions.join(format!("{id}.toml"));
    let text = read(&file)?;
    let in_file = |mistake: String| format!("{}: {mistake}", file.display());
    let region = infra::registry::parse(&text).map_err(in_file)?;
    if let Some(unknown) = agree
        .granted
        .iter()
        .find(|licence| !region.jurisdiction.licences.contains(licence))
    {
        return Err(format!(
            "--granted {unknown}: {} asks for {}",
            file.display(),
            none_or(&region.jurisdiction.licences)
        ));
    }
    let sign_off = SignOff {
        by: agree.by.clone(),
        at: agree.at.unwrap_or(today),
        reference: agree.reference.clone(),
        granted: agree.granted.clone(),
        terms: sign_off::terms(&region),
    };
    let signed = sign_off::record(&text, &sign_off).map_err(in_file)?;
    let verdict = sign_off::judge(&infra::registry::parse(&signed).map_err(in_file)?, false);
    let countries: Vec<_> = region.countries.iter().map(ToString::to_string).collect();
    let terms = [
        ("countries", countries.join(", ")),
        (
            "place",
            format!("{}, {}", region.location.place, region.location.provider),
        ),
        (
            "run by",
            match region.operation.model {
                OperationModel::Own => "ourselves",
                OperationModel::Partner => "a partner, who alone may log in there",
            }
            .to_owned(),
        ),
        ("laws", none_or(&region.jurisdiction.laws)),
        ("licences", none_or(&region.jurisdiction.licences)),
        ("granted", none_or(&agree.granted)),
        (
            "waiting",
            match region.spool {
                Spool::Sealed => {
                    "records may wait at the edge, outside of the region, sealed to its key"
                }
                Spool::Off => "nothing waits outside of the region",
            }
            .to_owned(),
        ),
    ];
    if agree.yes && verdict.is_ok() {
        replace(&file, &signed, Readers::AsBefore)
            .map_err(|error| format!("{}: {error}", file.display()))?;
    }
    let said = match (&verdict, agree.yes) {
        (Err(mistake), _) => format!("nothing was recorded: {mistake}; --granted LICENCE says so"),
        (Ok(_), true) => format!("recorded in {}: commit it", file.display()),
        (Ok(_), false) => "nothing was recorded: --yes does it".to_owned(),
    };
    let text = if agree.json {
        let terms: serde_json::Map<_, _> = terms
            .iter()
            .map(|(name, value)| ((*name).to_owned(), json!(value)))
            .collect();
        format!(
            "{:#}\n",
            json!({"region": id.as_str(), "by": agree.by, "reference": agree.reference, "terms": terms, "is_recorded": agree.yes && verdict.is_ok(), "said": said})
        )
    } else {
        let rows: Vec<_> = terms
            .iter()
            .map(|(name, value)| format!("{name:<10} {value}"))
            .collect();
        let rows = rows.join("\n");
        format!(
            "{} signs off for {id} ({}):\n{rows}\n{said}\n",
            agree.by, agree.reference
        )
    };
    Ok((text, verdict.is_ok()))
}

/// A record of somebody's leave names them, and is not of tomorrow.
fn judge_words(agree: &Agree, today: civil::Date) -> Result<(), String> {
    for (option, said) in [("--by", &agree.by), ("--reference", &agree.reference)] {
        if said.trim().is_empty() || said.chars().any(char::is_control) {
            return Err(format!("{option}: a name on one line is expected"));
        }
    }
    if agree.reference == sign_off::EXAMPLE {
        return Err(format!(
            "--reference {}: so the regions that come with this repository are marked; say where the review is kept",
            sign_off::EXAMPLE
        ));
    }
    match agree.at {
        Some(at) if at > today => Err(format!(
            "--at {at}: that is to come; today is {today} (UTC)"
        )),
        _ => Ok(()),
    }
}

fn none_or(names: &[String]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}
