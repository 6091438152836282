//! The screen: one row a region, and below it what is wrong. It fits [`WIDTH`] columns.

use super::findings::{
    Finding, Grade, LAG_MAX_SECS, SPOOL_OLDEST_MAX_SECS, SPOOL_USED_MAX, WATERMARK_MAX_SECS,
};
use super::row::{CoreState, MasterData, RouteIs, Row, Spool, Tables};
use super::{Facts, Status};

/// How many columns it takes at most.
pub const WIDTH: usize = 100;

/// What is cut first where a row would be too wide, and how short it may become.
const CUT: [(usize, usize); 2] = [(10, 8), (0, 8)];

const HEAD: [&str; 12] = [
    "REGION",
    "ROLE",
    "ROUTE",
    "CORE",
    "SCHEMA",
    "MASTER DATA",
    "SPOOL",
    "PARKED",
    "DEAD",
    "EVENTS",
    "WATERMARK",
    "REQ/1H",
];

/// Where figures stand, by their units.
const RIGHT: [usize; 4] = [7, 8, 9, 11];

const UNKNOWN: &str = "?";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tone {
    Plain,
    Bold,
    Wrong,
    Note,
}

/// A place in the table.
#[derive(Debug)]
struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    fn new(text: impl Into<String>, tone: Tone) -> Self {
        Self {
            text: text.into(),
            tone,
        }
    }

    fn plain(text: impl Into<String>) -> Self {
        Self::new(text, Tone::Plain)
    }

    fn unknown() -> Self {
        Self::new(UNKNOWN, Tone::Note)
    }

    fn is_unknown(&self) -> bool {
        self.text == UNKNOWN
    }

    /// A figure of which each one is one too many.
    fn none_wanted(figure: Option<u64>) -> Self {
        figure.map_or_else(Self::unknown, |figure| {
            let tone = if figure == 0 {
                Tone::Plain
            } else {
                Tone::Wrong
            };
            Self::new(figure.to_string(), tone)
        })
    }

    fn figure(figure: Option<u64>) -> Self {
        figure.map_or_else(Self::unknown, |figure| Self::plain(figure.to_string()))
    }
}

/// All of it as text, each line with its end. With `in_colour` by the colours of a terminal. Of the findings at most
/// `findings_max` are shown, and how many the others are.
#[must_use]
pub fn screen(
    status: &Status,
    facts: &Facts<'_>,
    in_colour: bool,
    findings_max: Option<usize>,
) -> String {
    let paint = |text: &str, tone: Tone| paint(text, tone, in_colour);
    let version = status.version;
    let in_force = match status.version_at_edge {
        Some(found) if found == version => "in force".to_owned(),
        Some(found) => format!("the edge has {found}"),
        None => "whether in force is not known".to_owned(),
    };
    let place = if facts.is_local {
        "this machine".to_owned()
    } else {
        status.environment.clone()
    };
    let mut lines = vec![
        paint(
            &format!("{place}, {:.0}   routes {version}, {in_force}", status.at),
            Tone::Bold,
        ),
        String::new(),
    ];
    lines.extend(rows(&status.regions, paint));
    lines.push(String::new());
    let all = status.findings.len();
    let shown = findings_max.map_or(all, |max| max.min(all));
    for finding in status.findings.iter().take(shown) {
        lines.extend(finding_lines(finding, paint));
    }
    if shown < all {
        lines.push(format!("and {} more: smpctl status --once", all - shown));
    }
    if status.is_well {
        let all_seen = !status
            .regions
            .iter()
            .any(|row| cells(row).iter().any(Cell::is_unknown));
        lines.push(
            if all_seen {
                "nothing is wrong"
            } else {
                "nothing is wrong in what could be seen"
            }
            .to_owned(),
        );
    }
    lines.join("\n") + "\n"
}

fn rows(rows: &[Row], paint: impl Fn(&str, Tone) -> String) -> Vec<String> {
    let head = HEAD.map(|name| Cell::new(name, Tone::Bold));
    let cells: Vec<_> = std::iter::once(head)
        .chain(rows.iter().map(cells))
        .collect();
    let mut widths = [0; HEAD.len()];
    for row in &cells {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.text.chars().count());
        }
    }
    let gaps = HEAD.len() - 1;
    let gap = if widths.iter().sum::<usize>() + 2 * gaps <= WIDTH {
        2
    } else {
        1
    };
    for (column, least) in CUT {
        let too_much = (widths.iter().sum::<usize>() + gap * gaps).saturating_sub(WIDTH);
        if let Some(width) = widths.get_mut(column) {
            *width = (*width).min((*width).saturating_sub(too_much).max(least));
        }
    }
    let line = |row: &[Cell; HEAD.len()]| {
        let row = row.iter().zip(widths).enumerate();
        let row = row.map(|(column, (cell, width))| {
            let text = cut(&cell.text, width);
            let text = if RIGHT.contains(&column) {
                format!("{text:>width$}")
            } else {
                format!("{text:<width$}")
            };
            paint(&text, cell.tone)
        });
        let line = row.collect::<Vec<_>>().join(&" ".repeat(gap));
        line.trim_end().to_owned()
    };
    cells.iter().map(line).collect()
}

fn cells(row: &Row) -> [Cell; HEAD.len()] {
    let route = match row.route.state {
        RouteIs::Open => Cell::plain("open"),
        RouteIs::Paused => Cell::new("paused", Tone::Note),
        RouteIs::Mixed => Cell::new("mixed", Tone::Note),
        RouteIs::None => Cell::new("none", Tone::Note),
    };
    let schema = match row.schema.as_deref() {
        None => Cell::unknown(),
        Some("ok") => Cell::plain("ok"),
        Some(other) => Cell::new(other, Tone::Wrong),
    };
    [
        Cell::plain(row.region.as_str()),
        row.role.map_or_else(Cell::unknown, Cell::plain),
        route,
        core(row),
        schema,
        master_data(&row.master_data),
        row.spool.as_ref().map_or_else(Cell::unknown, spool),
        Cell::none_wanted(row.spool.as_ref().map(|spool| spool.parked)),
        Cell::none_wanted(row.dead_letters),
        Cell::figure(row.events_waiting),
        watermark(row),
        Cell::figure(row.requests_1h),
    ]
}

fn core(row: &Row) -> Cell {
    let why = row.core.why.as_deref().unwrap_or_default();
    match row.core.state {
        CoreState::Ready => Cell::plain("ready"),
        CoreState::NoAnswer => Cell::new("no answer", Tone::Wrong),
        CoreState::Unknown => Cell::unknown(),
        // Its schema has a column of its own.
        CoreState::NotReady if why.starts_with("schema") => Cell::new("not ready", Tone::Wrong),
        CoreState::NotReady if why.starts_with("it is") => Cell::new("another's", Tone::Wrong),
        CoreState::NotReady => Cell::new(why, Tone::Wrong),
    }
}

fn master_data(data: &MasterData) -> Cell {
    let is_late = data.lag_seconds.is_some_and(|lag| lag > LAG_MAX_SECS);
    let is_parked = data.parked.is_some_and(|parked| parked > 0);
    let differs = matches!(data.tables, Some(Tables::Differ(_)));
    let tone = if is_late || is_parked || differs {
        Tone::Wrong
    } else {
        Tone::Plain
    };
    if data.is_hub {
        return Cell::new("its own", tone);
    }
    let tables = match &data.tables {
        Some(Tables::Equal) => "equal",
        Some(Tables::Differ(_)) => "differs",
        None if data.lag_seconds.is_none() => return Cell::unknown(),
        None => UNKNOWN,
    };
    let lag = data.lag_seconds.map_or_else(|| UNKNOWN.to_owned(), short);
    Cell::new(format!("{lag} {tables}"), tone)
}

fn spool(spool: &Spool) -> Cell {
    if spool.waiting == 0 {
        let text = if spool.may_wait { "0" } else { "off" };
        return Cell::plain(text);
    }
    let is_wrong =
        spool.oldest_seconds > SPOOL_OLDEST_MAX_SECS || spool.used_ratio > SPOOL_USED_MAX;
    Cell::new(
        format!("{} {}", spool.waiting, short(spool.oldest_seconds)),
        if is_wrong { Tone::Wrong } else { Tone::Note },
    )
}

fn watermark(row: &Row) -> Cell {
    let Some(mark) = &row.watermark else {
        // Where nobody polls there is none, which is known.
        return if row.dead_letters.is_some() {
            Cell::plain("none")
        } else {
            Cell::unknown()
        };
    };
    let tone = if mark.age_seconds > WATERMARK_MAX_SECS {
        Tone::Wrong
    } else {
        Tone::Plain
    };
    Cell::new(
        format!("{} {}", short(mark.age_seconds), mark.connection),
        tone,
    )
}

/// One line, or two where one would be too long.
fn finding_lines(finding: &Finding, paint: impl Fn(&str, Tone) -> String) -> Vec<String> {
    let (grade, tone) = match finding.grade {
        Grade::Wrong => ("WRONG", Tone::Wrong),
        Grade::Note => ("note ", Tone::Note),
    };
    let whose = finding.region.as_ref();
    let whose = whose.map_or_else(String::new, |region| format!("{region}: "));
    let what = format!("{whose}{}", finding.what.replace('\n', " "));
    let grade_painted = paint(grade, tone);
    let what = cut(&what, WIDTH - grade.len() - 1);
    let Some(mend) = &finding.mend else {
        return vec![format!("{grade_painted} {what}")];
    };
    let taken = grade.len() + 1 + what.chars().count() + 3 + mend.chars().count();
    if taken <= WIDTH {
        return vec![format!("{grade_painted} {what} → {mend}")];
    }
    vec![
        format!("{grade_painted} {what}"),
        format!("      → {}", cut(mend, WIDTH - 8)),
    ]
}

/// In the largest unit of which there is more than one.
fn short(seconds: f64) -> String {
    match seconds.max(0.0) {
        s if s < 10.0 => format!("{s:.1}s"),
        s if s < 120.0 => format!("{s:.0}s"),
        s if s < 7_200.0 => format!("{:.0}m", s / 60.0),
        s if s < 172_800.0 => format!("{:.0}h", s / 3_600.0),
        s => format!("{:.0}d", s / 86_400.0),
    }
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    kept + "…"
}

fn paint(text: &str, tone: Tone, in_colour: bool) -> String {
    let code = match tone {
        Tone::Plain => return text.to_owned(),
        _ if !in_colour => return text.to_owned(),
        Tone::Bold => "1",
        Tone::Wrong => "1;31",
        Tone::Note => "33",
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}
