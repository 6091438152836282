//! A lead's phone number, however it is written, is one number of its country.

use proptest::prelude::*;
use protocol::country::Country;
use regional_core::phone::{MAX_CHARS, NormalizedPhone, PhoneFault, normalize};

fn read(country: &str, written: &str) -> Result<String, PhoneFault> {
    let phone = normalize(Some(written), Country::parse(country).unwrap())?;
    Ok(phone.as_str().to_owned())
}

#[track_caller]
fn all_are(expected: &str, country: &str, texts: &[&str]) {
    for text in texts {
        assert_eq!(
            read(country, text).as_deref(),
            Ok(expected),
            "{country} {text:?}"
        );
    }
}

#[test]
fn a_vietnamese_mobile_is_read_however_it_is_written() {
    all_are(
        "+84912345678",
        "VN",
        &[
            "0912345678",
            "0912 345 678",
            "0912.345.678",
            "0912-345-678",
            "(0912) 345 678",
            "0912_345_678",
            "0912'345'678",
            "0912\u{a0}345\u{a0}678",
            "0912\u{2013}345\u{2013}678",
            "912345678",
            "84912345678",
            "84 912 345 678",
            "+84912345678",
            "+84 912 345 678",
            "+84 (0) 912 345 678",
            "(+84) 0912345678",
            "0084912345678",
            "00 84 912 345 678",
            "  0912345678\t",
            "Tel: 0912 345 678",
            "tel:+84-912-345-678",
            "SĐT 0912.345.678 (Zalo)",
            "Zalo: 0912345678 - chị Lan",
            "\u{202a}+84 912 345 678\u{202c}",
            "\u{200f}0912\u{200b}345678\u{feff}",
            "\u{ff10}\u{ff19}\u{ff11}\u{ff12}345678",
            "\u{ff0b}84912345678",
            "٠٩١٢٣٤٥٦٧٨",
            "๐๙๑๒๓๔๕๖๗๘",
            "0912345678 ext. 12",
            "0912345678 x12",
            "0912345678#12",
            "0912345678 máy lẻ 12",
            "0912345678;ext=12",
            "tel:0912345678;phone-context=+84",
            "0912\u{0}0912345678",
            "1990 nam, 0912345678",
        ],
    );
}

#[test]
fn of_several_numbers_the_first_usable_one_is_taken() {
    all_are(
        "+84901234567",
        "VN",
        &[
            "0901234567 / 0902345678",
            "0901234567/0902345678",
            "0901234567; 0902345678",
            "0901234567, 0902345678",
            "0901234567\n0902345678",
            "0901234567\r\n0902345678",
            "0901234567 0902345678",
            "0901234567 - 0902345678",
            "0901 234 567 - 0902 345 678",
            "0901234567 (0902345678)",
            "0901234567+84902345678",
            "0901234567 hoặc 0902345678",
            "0901234567/68",
            "0000 / 0901234567",
            "123 / 0901234567 / 0902345678",
            "0912345; 0901234567",
            "lead1990@example.com 0901234567",
            "0902345xxx, 0901234567",
        ],
    );
    all_are("+62215551234", "ID", &["021 5551234/35"]);
}

/// Country, number, and how it is written there: mobiles and landlines.
const BY_COUNTRY: &[(&str, &str, &[&str])] = &[
    (
        "VN",
        "+842838221234",
        &[
            "028 3822 1234",
            "(028) 38221234",
            "84 28 3822 1234",
            "+84 28 3822 1234",
        ],
    ),
    ("VN", "+842438251234", &["024 3825 1234", "2438251234"]),
    ("VN", "+84562345678", &["056 234 5678"]),
    (
        "SG",
        "+6591234567",
        &[
            "9123 4567",
            "91234567",
            "6591234567",
            "+65 9123 4567",
            "0065 91234567",
        ],
    ),
    (
        "SG",
        "+6561234567",
        &["6123 4567", "+65-6123-4567", "٦١٢٣ ٤٥٦٧"],
    ),
    ("SG", "+6565294777", &["6529 4777", "65294777"]),
    (
        "TH",
        "+66812345678",
        &[
            "081 234 5678",
            "081-234-5678",
            "66812345678",
            "๐๘๑-๒๓๔-๕๖๗๘",
            "+66 (0)81 234 5678",
        ],
    ),
    (
        "TH",
        "+6621234567",
        &["02 123 4567", "021234567", "+66 2 123 4567"],
    ),
    (
        "ID",
        "+62812345678",
        &[
            "0812-345-678",
            "62812345678",
            "812345678",
            "+62 812 345 678",
            "WA 62812345678",
        ],
    ),
    (
        "ID",
        "+6281234567890",
        &["0812-3456-7890", "6281234567890", "+62 812-3456-7890"],
    ),
    (
        "ID",
        "+62215551234",
        &["(021) 555-1234", "021 5551234", "+62 21 5551234"],
    ),
    (
        "MY",
        "+60123456789",
        &[
            "012-345 6789",
            "0123456789",
            "60123456789",
            "+60 12-345 6789",
        ],
    ),
    ("MY", "+60323856789", &["03-2385 6789", "+60 3-2385 6789"]),
    (
        "PH",
        "+639171234567",
        &[
            "0917 123 4567",
            "639171234567",
            "9171234567",
            "+63 (917) 123-4567",
        ],
    ),
    ("PH", "+63232345678", &["(02) 3234 5678", "+63 2 3234 5678"]),
    (
        "CN",
        "+8613812345678",
        &[
            "138 1234 5678",
            "13812345678",
            "8613812345678",
            "\u{ff11}38 1234 5678",
        ],
    ),
    (
        "CN",
        "+861062345678",
        &["010-6234 5678", "(010)62345678", "+86 10 6234 5678"],
    ),
    (
        "US",
        "+16502530000",
        &[
            "(650) 253-0000",
            "650-253-0000",
            "1 650 253 0000",
            "+1 650.253.0000",
            "6502530000",
        ],
    ),
];

#[test]
fn each_country_reads_its_mobiles_and_its_landlines() {
    for (country, expected, texts) in BY_COUNTRY {
        all_are(expected, country, texts);
    }
}

#[test]
fn a_number_of_another_country_stays_of_that_country() {
    all_are(
        "+6591234567",
        "VN",
        &["+65 9123 4567", "0065 9123 4567", "00 65 91234567"],
    );
    all_are(
        "+84912345678",
        "US",
        &["011 84 912 345 678", "0084912345678", "+84 912 345 678"],
    );
    all_are(
        "+84912345678",
        "SG",
        &["001 84 912345678", "0084 912 345 678"],
    );
    all_are(
        "+84912345678",
        "TH",
        &["001 84 912345678", "0084 912 345 678"],
    );
    all_are(
        "+84912345678",
        "ID",
        &["008 84 912345678", "0084 912 345 678"],
    );
    // Of a country that libphonenumber does not know, only what says its country.
    all_are("+84912345678", "ZZ", &["+84 912 345 678", "0084912345678"]);
    assert_eq!(read("ZZ", "0912345678"), Err(PhoneFault::Unreadable));
}

/// Decision 798/QĐ-BTTTT, in full.
#[test]
fn retired_vietnamese_mobiles_become_their_successors() {
    for (old, new) in [
        ("0120", "70"),
        ("0121", "79"),
        ("0122", "77"),
        ("0126", "76"),
        ("0128", "78"),
        ("0123", "83"),
        ("0124", "84"),
        ("0125", "85"),
        ("0127", "81"),
        ("0129", "82"),
        ("0162", "32"),
        ("0163", "33"),
        ("0164", "34"),
        ("0165", "35"),
        ("0166", "36"),
        ("0167", "37"),
        ("0168", "38"),
        ("0169", "39"),
        ("0186", "56"),
        ("0188", "58"),
        ("0199", "59"),
    ] {
        // 059 was given out with 2, 3, 8 and 9 after it, 056 and 058 with 2, 3, 5, 6, 8 or 9.
        let expected = format!("+84{new}8345670");
        let trunkless = &old[1..];
        for written in [
            format!("{old}8345670"),
            format!("{old} 834 5670"),
            format!("+84 {trunkless} 834 5670"),
            format!("84{trunkless}8345670"),
            format!("{trunkless}8345670"),
            format!("0084{trunkless}8345670"),
        ] {
            assert_eq!(
                read("VN", &written).as_deref(),
                Ok(expected.as_str()),
                "{written}"
            );
        }
        assert_eq!(
            read("SG", &format!("+84{trunkless}8345670")).as_deref(),
            Ok(expected.as_str())
        );
    }
    assert_eq!(
        read("VN", "0161 234 5670"),
        Err(PhoneFault::Invalid),
        "a code that nobody had"
    );
    assert_eq!(
        read("VN", "0168 345 670"),
        Err(PhoneFault::Invalid),
        "a digit is missing"
    );
}

#[test]
fn a_text_without_a_number_says_why() {
    let vn = Country::parse("VN").unwrap();
    assert_eq!(normalize(None, vn), Err(PhoneFault::Missing));
    for (text, fault) in [
        ("", PhoneFault::Missing),
        ("  \n", PhoneFault::Missing),
        ("không có", PhoneFault::Missing),
        ("+ - ()", PhoneFault::Missing),
        ("\u{0}", PhoneFault::Missing),
        ("1", PhoneFault::Unreadable),
        ("+", PhoneFault::Missing),
        ("+0912", PhoneFault::Unreadable),
        ("+999 12345678", PhoneFault::Unreadable),
        ("0912345678901234567890", PhoneFault::Unreadable),
        ("0912 345 67", PhoneFault::Invalid),
        ("0912 345 678 9", PhoneFault::Invalid),
        ("0000000000", PhoneFault::Invalid),
        ("0912 345 6xx", PhoneFault::Unreadable),
        ("0912345678xx", PhoneFault::Unreadable),
        ("+1 555 555 5555", PhoneFault::Invalid),
        ("1-800-FLOWERS", PhoneFault::Invalid),
        ("12/05/1990", PhoneFault::Invalid),
        ("12/01/1990", PhoneFault::Invalid),
    ] {
        assert_eq!(read("VN", text), Err(fault), "{text:?}");
    }
    let names = [
        PhoneFault::Missing,
        PhoneFault::TooLong,
        PhoneFault::Unreadable,
        PhoneFault::Invalid,
    ]
    .map(PhoneFault::as_str);
    assert_eq!(names, ["missing", "too_long", "unreadable", "invalid"]);
}

#[test]
fn a_text_is_read_up_to_its_limit_and_no_further() {
    let filled = |chars: usize| format!("0912345678{}", "ạ".repeat(chars - 10));
    assert_eq!(
        read("VN", &filled(MAX_CHARS)).as_deref(),
        Ok("+84912345678")
    );
    assert_eq!(read("VN", &filled(MAX_CHARS + 1)), Err(PhoneFault::TooLong));
    assert_eq!(
        read("VN", &format!("{}0912345678", " ".repeat(100))).as_deref(),
        Ok("+84912345678")
    );
    for unit in [
        "0",
        "+",
        "\u{0}",
        "\u{200f}",
        "\u{ff11}",
        "0912345678;phone-context=+84",
        "1/",
        "1 ",
    ] {
        assert_eq!(
            read("VN", &unit.repeat(1 << 20)),
            Err(PhoneFault::TooLong),
            "{unit:?}"
        );
    }
}

#[test]
fn a_number_is_not_printed() {
    let phone = normalize(Some("0912345678"), Country::parse("VN").unwrap()).unwrap();
    assert_eq!(format!("{phone:?}"), "NormalizedPhone(REDACTED)");
}

fn is_e164(phone: &NormalizedPhone) -> bool {
    let digits = phone.as_str().strip_prefix('+').unwrap_or_default();
    (7..=15).contains(&digits.len())
        && !digits.starts_with('0')
        && digits.bytes().all(|digit| digit.is_ascii_digit())
}

/// Numbers that exist, with what people do to them: the more of them are read, the more this tests.
fn written() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[0-9]{1,11}",
        3 => "(\\+|00|0|)(84|65|66|62|60|63|86|1|54|39|52|49)?[1-9][0-9]{6,10}",
        2 => "[+ ./()x,;\\-]",
        1 => "[\u{660}-\u{669}\u{ff10}-\u{ff19}\u{e50}-\u{e59}]{1,10}",
        1 => "[\u{0}\u{200f}\u{202a}\u{feff}\n]",
        1 => "(tel:|;ext=|;phone-context=|;isub=|ext|SĐT |\u{10ffff}|xx)",
    ];
    prop_oneof![
        4 => prop::collection::vec(piece, 1..6).prop_map(|pieces| pieces.concat()),
        1 => "\\PC{0,70}",
        1 => any::<String>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn a_normalized_number_is_e164_and_normalizes_to_itself(
        text in written(),
        country in "VN|SG|TH|ID|MY|PH|CN|US|[A-Z]{2}",
        other in "VN|SG|TH|ID|MY|PH|CN|US|[A-Z]{2}",
    ) {
        if let Ok(phone) = normalize(Some(&text), Country::parse(&country).unwrap()) {
            prop_assert!(is_e164(&phone), "{}", phone.as_str());
            let again = normalize(Some(phone.as_str()), Country::parse(&other).unwrap());
            prop_assert_eq!(again.as_ref(), Ok(&phone), "{}", phone.as_str());
        }
    }
}
