//! A lead's phone number as people write it, made one number by the rules of its country.
//!
//! Owns: what of a text is a number ([`normalize`]), and the Vietnamese mobile numbers that were
//! replaced in 2018. Does not own which numbers exist: that is Google's
//! [libphonenumber](https://github.com/google/libphonenumber) (data 9.0.42), by its port
//! `rlibphonenumber`. The port is given nothing but `+` and ASCII digits: its reading of free text
//! turns letters into digits (`Zalo` is 9256) and panics on some texts with `;phone-context=`.
//!
//! Metadata is 229 kB in the binary and is read at the first call, in 4 ms and 5 MB of memory: [`load`] does it
//! at start. The patterns of a country are compiled when a number of it is first seen, and kept: 11 MB
//! with every country seen. The port's feature `regex` instead of `lite` is seven times faster (0.8 µs a
//! number, not 6) and holds 150 MB then, more than the core may use; which countries are seen is the
//! sender's choice.

use std::collections::VecDeque;
use std::fmt;

use protocol::country::Country;
use rlibphonenumber::{PHONE_NUMBER_UTIL, PhoneNumber, PhoneNumberFormat, PhoneNumberType, Region};

/// The most characters that are read, after trimming: three numbers as people write them. Work is
/// bounded by it.
pub const MAX_CHARS: usize = 64;

/// Digits of the longest number, without the plus (ITU-T E.164, 6.2.1).
const MAX_DIGITS: usize = 15;

/// Digits of the shortest that is kept. Shorter ones that libphonenumber takes as valid are
/// numbers of services, which call nobody back.
const MIN_DIGITS: usize = 7;

/// A valid number in the form of ITU-T E.164: `+`, then 7 to 15 digits of which the first is not 0.
///
/// Only [`normalize`] makes one. Its `Debug` hides the number.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NormalizedPhone(String);

impl NormalizedPhone {
    /// The number, with its plus. Not for a log, a metric or a URL.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for NormalizedPhone {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("NormalizedPhone(REDACTED)")
    }
}

/// Why a text gives no number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum PhoneFault {
    /// There is no text, or no digit in it.
    #[error("no phone number is written")]
    Missing,
    /// The text is longer than [`MAX_CHARS`].
    #[error("the phone number is a text of more than {MAX_CHARS} characters")]
    TooLong,
    /// There are digits, but nothing that has the shape of a number: too few of them, too many, or a
    /// calling code that is nobody's.
    #[error("the phone number cannot be read")]
    Unreadable,
    /// There is a number by its shape, but none that the country it says has given out.
    #[error("the phone number does not exist in its country's numbering plan")]
    Invalid,
}

impl PhoneFault {
    /// A stable name, for a column or a metric.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::TooLong => "too_long",
            Self::Unreadable => "unreadable",
            Self::Invalid => "invalid",
        }
    }
}

/// Reads the metadata, so that the first number of a process does not wait for it.
pub fn load() {
    std::sync::LazyLock::force(&PHONE_NUMBER_UTIL);
}

/// The number that is `written`, by the rules of `country` unless it says another.
///
/// - Text around the number is passed over, as are an extension, signs that show nothing, and the way the
///   digits are grouped; digits are those of any script that our countries write.
/// - Of several numbers the first usable one is taken. Between them stands a comma, a semicolon, a line end, a
///   slash, a word, a plus; or a space or dash only, if what is on both sides is valid.
/// - `+` and `00` start an international number, as does the country's own prefix (`011` from the US).
///   `00` is read as `+` first: in Singapore and Thailand `008` is a carrier's prefix too, and `0084…` would be a
///   number of Germany.
/// - A country's own calling code may stand without a plus (`84912345678`). libphonenumber reads that only where
///   the digits are no national number; we also do where it makes a mobile number of them, as `62812…` is
///   written for +62 812 in Indonesia and 0628 is a small area there.
/// - Letters are never digits (`1-800-FLOWERS` is no number), and a number followed by `xx` or `**` is
///   hidden in part and not taken.
/// - Vietnamese mobile numbers of 11 digits become their successors of 2018.
///
/// Pure. Giving a number back gives the same number, for any country. Never panics.
pub fn normalize(written: Option<&str>, country: Country) -> Result<NormalizedPhone, PhoneFault> {
    let written = written.unwrap_or_default().trim();
    if written.chars().nth(MAX_CHARS).is_some() {
        return Err(PhoneFault::TooLong);
    }
    if !written.chars().any(|sign| digit(sign).is_some()) {
        return Err(PhoneFault::Missing);
    }
    let reader = Reader {
        region: Region::from_code(country.as_str()).ok(),
    };
    let mut fault = PhoneFault::Unreadable;
    for run in runs(written) {
        match reader.run(&run) {
            Ok(phone) => return Ok(phone),
            Err(PhoneFault::Invalid) => fault = PhoneFault::Invalid,
            Err(_) => {}
        }
    }
    Err(fault)
}

/// As [`normalize`], of a number whose calling code is written apart from it (`+84` and `912345678`).
///
/// A code that is another country's than `country` makes that one's rules hold: of `+65` and `91234567` it is
/// Singapore's number, whose customer it may be. A number that is none there is not taken for one of `country`:
/// the two contradict each other, and a stranger's number is worse than none. What is no code at all says
/// nothing.
///
/// Pure. Never panics.
pub fn normalize_apart(
    code: Option<&str>,
    written: Option<&str>,
    country: Country,
) -> Result<NormalizedPhone, PhoneFault> {
    let other = code.and_then(|code| other_country(code, country));
    normalize(written, other.unwrap_or(country))
}

/// Whose calling code this is, if it is not `country`'s too; of a code that several share, the main one.
fn other_country(code: &str, country: Country) -> Option<Country> {
    let code: String = code.chars().filter_map(digit).collect();
    let code: i32 = code.parse().ok()?;
    let own = Region::from_code(country.as_str()).ok();
    if own.and_then(|own| PHONE_NUMBER_UTIL.get_country_code_for_region(own)) == Some(code) {
        return None;
    }
    let region = PHONE_NUMBER_UTIL.get_region_for_country_code(code)?;
    // What is no country's (satellites) has a region of three digits.
    Country::parse(region.as_region_str().as_str()).ok()
}

/// What stands between two digits of a run, from the strongest: a run may end at a slash, and it
/// may at a space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Gap {
    None,
    Space,
    Slash,
}

/// Digits that may be one number, each with what stands before it.
#[derive(Debug, Default)]
struct Run {
    plus: bool,
    digits: String,
    gaps: Vec<Gap>,
}

impl Run {
    /// The two sides of the digit at `at`.
    fn split(&self, at: usize) -> Option<(Self, Self)> {
        let (left, right) = self.digits.split_at_checked(at)?;
        let (left_gaps, right_gaps) = self.gaps.split_at_checked(at)?;
        let side = |plus, digits: &str, gaps: &[Gap]| Self {
            plus,
            digits: digits.to_owned(),
            gaps: gaps.to_vec(),
        };
        Some((
            side(self.plus, left, left_gaps),
            side(false, right, right_gaps),
        ))
    }

    /// Where a gap of this kind is, from the left.
    fn gaps(&self, kind: Gap) -> impl Iterator<Item = usize> {
        let found = self.gaps.iter().enumerate().skip(1);
        found.filter_map(move |(at, gap)| (*gap == kind).then_some(at))
    }
}

/// The runs of a text, in its order. Ends a run: a plus, and all that does not stand within a number.
fn runs(written: &str) -> VecDeque<Run> {
    let mut runs = VecDeque::new();
    let mut run = Run::default();
    let mut gap = Gap::None;
    let mut end = |run: &mut Run, rest: &str| {
        let run = std::mem::take(run);
        if !run.digits.is_empty() && !is_masked(rest) {
            runs.push_back(run);
        }
    };
    for (at, sign) in written.char_indices() {
        if let Some(digit) = digit(sign) {
            run.digits.push(digit);
            run.gaps.push(std::mem::replace(&mut gap, Gap::None));
        } else if is_plus(sign) {
            end(&mut run, "");
            run.plus = true;
        } else if is_unseen(sign) {
        } else if let Some(found) = separator(sign) {
            gap = gap.max(found);
        } else {
            end(&mut run, written.get(at..).unwrap_or_default());
        }
    }
    end(&mut run, "");
    runs
}

/// Whether the text after a run says that digits of it are hidden: `0912 345 xxx`.
fn is_masked(rest: &str) -> bool {
    let mut signs = rest.chars();
    (0..2).all(|_| matches!(signs.next(), Some('x' | 'X' | '*')))
}

fn is_plus(sign: char) -> bool {
    matches!(sign, '+' | '\u{ff0b}' | '\u{fe62}')
}

/// Marks of direction, joiners, soft hyphens: pasted along, seen by nobody.
fn is_unseen(sign: char) -> bool {
    matches!(sign,
        '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{2069}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}')
}

/// What stands within numbers: libphonenumber's `VALID_PUNCTUATION`, and the quotes, dots and low
/// lines that people use too. A line end is none.
fn separator(sign: char) -> Option<Gap> {
    match sign {
        '/' | '\u{ff0f}' | '\\' | '|' => Some(Gap::Slash),
        '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}' => None,
        '-'
        | '\u{2010}'..='\u{2015}'
        | '\u{2212}'
        | '\u{30fc}'
        | '\u{ff0d}'
        | '~'
        | '\u{2053}'
        | '\u{223c}'
        | '\u{ff5e}'
        | '('
        | ')'
        | '\u{ff08}'
        | '\u{ff09}'
        | '['
        | ']'
        | '\u{ff3b}'
        | '\u{ff3d}'
        | '.'
        | '\u{ff0e}'
        | '\u{b7}'
        | '\u{2022}'
        | '_'
        | '\''
        | '\u{2019}' => Some(Gap::Space),
        sign if sign.is_whitespace() => Some(Gap::Space),
        _ => None,
    }
}

/// The ASCII digit of a decimal digit in a script that our countries or their neighbours write
/// (Unicode category Nd; each block is ten code points from its zero).
fn digit(sign: char) -> Option<char> {
    const ZEROS: [char; 14] = [
        '0',
        '\u{660}',   // Arabic-Indic
        '\u{6f0}',   // Arabic-Indic, as in Persian and Urdu
        '\u{966}',   // Devanagari
        '\u{9e6}',   // Bengali
        '\u{be6}',   // Tamil
        '\u{e50}',   // Thai
        '\u{ed0}',   // Lao
        '\u{1040}',  // Myanmar
        '\u{17e0}',  // Khmer
        '\u{a9d0}',  // Javanese
        '\u{1b50}',  // Balinese
        '\u{ff10}',  // full width
        '\u{1d7ce}', // bold, as pasted from social networks
    ];
    let found = ZEROS.iter().find_map(|zero| {
        u32::from(sign)
            .checked_sub(u32::from(*zero))
            .filter(|value| *value < 10)
    })?;
    char::from_digit(found, 10)
}

/// Reads runs by the rules of one country; of a country that libphonenumber does not know, only
/// international numbers.
struct Reader {
    region: Option<Region>,
}

impl Reader {
    /// The first number of a run. Up to the slash if that is a number, so that `0912345678/79` is not
    /// one of twelve digits; else all of it, unless it is a date; else what follows the slashes; else, if a space parts it into
    /// two valid numbers, the first.
    fn run(&self, run: &Run) -> Result<NormalizedPhone, PhoneFault> {
        let sides = |kind| run.gaps(kind).filter_map(|at| run.split(at));
        let mut fault = match sides(Gap::Slash).next() {
            Some((left, _)) => match self.apart(&left) {
                Ok(phone) => return Ok(phone),
                Err(fault) => fault,
            },
            None => PhoneFault::Unreadable,
        };
        // Two slashes make a date: 12/01/1990 would be a free-of-charge number of Vietnam.
        if run.gaps(Gap::Slash).nth(1).is_none() {
            match self.apart(run) {
                Ok(phone) => return Ok(phone),
                Err(PhoneFault::Invalid) => fault = PhoneFault::Invalid,
                Err(_) => {}
            }
        }
        for (_, right) in sides(Gap::Slash) {
            let until = right.gaps(Gap::Slash).next();
            let piece = until
                .and_then(|at| right.split(at))
                .map_or(right, |(piece, _)| piece);
            match self.apart(&piece) {
                Ok(phone) => return Ok(phone),
                Err(PhoneFault::Invalid) => fault = PhoneFault::Invalid,
                Err(_) => {}
            }
        }
        Err(fault)
    }

    /// A run as one number, or as two valid ones with a space or a dash between, of which the first.
    fn apart(&self, run: &Run) -> Result<NormalizedPhone, PhoneFault> {
        self.number(run.plus, &run.digits).or_else(|fault| {
            run.gaps(Gap::Space)
                .filter_map(|at| run.split(at))
                .find_map(|(left, right)| {
                    self.number(false, &right.digits).ok()?;
                    self.number(left.plus, &left.digits).ok()
                })
                .ok_or(fault)
        })
    }

    /// Digits as one number.
    fn number(&self, plus: bool, digits: &str) -> Result<NormalizedPhone, PhoneFault> {
        if plus {
            return international(digits);
        }
        if let Some(phone) = digits
            .strip_prefix("00")
            .and_then(|rest| international(rest).ok())
        {
            return Ok(phone);
        }
        let Some(region) = self.region else {
            return Err(PhoneFault::Unreadable);
        };
        if let Some(phone) = mobile_by_calling_code(region, digits) {
            return Ok(phone);
        }
        accept(parse(digits, Some(region))?)
    }
}

fn international(digits: &str) -> Result<NormalizedPhone, PhoneFault> {
    accept(parse(&format!("+{digits}"), None)?)
}

/// The region's calling code without a plus before a mobile number.
fn mobile_by_calling_code(region: Region, digits: &str) -> Option<NormalizedPhone> {
    let code = PHONE_NUMBER_UTIL.get_country_code_for_region(region)?;
    digits.strip_prefix(&code.to_string())?;
    let number = parse(&format!("+{digits}"), None).ok()?;
    let mobile = matches!(
        PHONE_NUMBER_UTIL.get_number_type(&number),
        PhoneNumberType::Mobile | PhoneNumberType::FixedLineOrMobile
    );
    if mobile { accept(number).ok() } else { None }
}

/// The only call of libphonenumber's parser: an optional plus and ASCII digits.
fn parse(digits: &str, region: Option<Region>) -> Result<PhoneNumber, PhoneFault> {
    PHONE_NUMBER_UTIL
        .parse(digits, region)
        .map_err(|_| PhoneFault::Unreadable)
}

/// A number that is valid for the country it says.
fn accept(number: PhoneNumber) -> Result<NormalizedPhone, PhoneFault> {
    let number = vietnamese_successor(&number).unwrap_or(number);
    if !PHONE_NUMBER_UTIL.is_valid_number(&number) {
        return Err(PhoneFault::Invalid);
    }
    let text = PHONE_NUMBER_UTIL.format(&number, PhoneNumberFormat::E164);
    // Some plans have service numbers that are shorter or longer than E.164 lets a number be.
    if !(1 + MIN_DIGITS..=1 + MAX_DIGITS).contains(&text.len()) {
        return Err(PhoneFault::Invalid);
    }
    // The parser takes national prefixes off international numbers too: what would lose more digits the
    // next time it is read is no normal form.
    let again = parse(&text, None)?;
    if PHONE_NUMBER_UTIL.format(&again, PhoneNumberFormat::E164) != text {
        return Err(PhoneFault::Invalid);
    }
    Ok(NormalizedPhone(text.into_owned()))
}

/// What a Vietnamese mobile number of 11 digits (with its trunk zero) became between 2018-09-15 and
/// 2019-06-30: the network code changed, the last seven digits did not.
///
/// Source: Decision 798/QĐ-BTTTT of the Ministry of Information and Communications, 2018-05-25, H2H
/// codes. libphonenumber does not know the old ones any more. None of them is the start of a ten-digit
/// number that is in use (the 1800 and 1900 services are not in the table).
fn vietnamese_successor(number: &PhoneNumber) -> Option<PhoneNumber> {
    const CALLING_CODE: i32 = 84;
    let national = number.national_number;
    if number.country_code != CALLING_CODE
        || number.italian_leading_zero()
        || !(1_000_000_000..10_000_000_000).contains(&national)
    {
        return None;
    }
    let code = match national / 10_000_000 {
        120 => 70,
        121 => 79,
        122 => 77,
        126 => 76,
        128 => 78,
        123 => 83,
        124 => 84,
        125 => 85,
        127 => 81,
        129 => 82,
        viettel @ 162..=169 => viettel - 130,
        186 => 56,
        188 => 58,
        199 => 59,
        _ => return None,
    };
    parse(
        &format!("+{CALLING_CODE}{code}{:07}", national % 10_000_000),
        None,
    )
    .ok()
}
