//! What each endpoint answers, and what it refuses.

use axum::body::Body;
use axum::http::Request;
use regional_core::master_data::description;
use serde_json::{Value, json};

use crate::support::master_data::{Part, core_of, write};
use crate::support::{Answer, TestCore};

async fn get(core: &TestCore, path: &str) -> Answer {
    core.get(&format!("/v1/master-data{path}")).await
}

/// The body of a 200.
async fn found(core: &TestCore, path: &str) -> Value {
    let answer = get(core, path).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    assert_eq!(answer.content_type.as_deref(), Some("application/json"));
    answer.json()
}

/// The detail and the field of a problem.
async fn problem(core: &TestCore, path: &str, status: u16) -> (String, Value) {
    let answer = get(core, path).await;
    let text = answer.text();
    assert_eq!(answer.status.as_u16(), status, "{path}: {text}");
    assert_eq!(
        answer.content_type.as_deref(),
        Some("application/problem+json"),
        "{path}: {text}"
    );
    let problem = answer.json();
    assert_eq!(problem["type"], "about:blank");
    assert_eq!(problem["status"], status);
    assert!(problem["title"].is_string());
    let detail = problem["detail"].as_str().unwrap_or_default().to_owned();
    (detail, problem["field"].clone())
}

#[tokio::test]
async fn countries_and_currencies_are_listed_by_code_and_found_by_it() {
    let core = core_of(Part::Hub).await;
    let countries = found(&core, "/countries").await;
    let codes: Vec<&str> = countries["countries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|country| country["code"].as_str().unwrap())
        .collect();
    assert_eq!(codes, ["CN", "ID", "MY", "PH", "SG", "TH", "US", "VN"]);
    let country = found(&core, "/countries/VN").await;
    assert_eq!(countries["countries"][7], country);
    assert!(country["row_version"].as_i64().unwrap() > 1 << 40);
    for (field, value) in [
        ("alpha3", json!("VNM")),
        ("numeric_code", json!("704")),
        ("name", json!("Viet Nam")),
        ("default_currency", json!("VND")),
        ("default_locale", json!("vi-VN")),
        ("time_zones", json!(["Asia/Ho_Chi_Minh"])),
        ("calling_code", json!("84")),
        ("is_active", json!(true)),
    ] {
        assert_eq!(country[field], value, "{field}");
    }

    let currencies = found(&core, "/currencies").await;
    assert_eq!(currencies["currencies"].as_array().unwrap().len(), 10);
    let dong = found(&core, "/currencies/VND").await;
    assert_eq!(dong["minor_units"], 0);
    assert_eq!(dong["cash_increment"], Value::Null);
    let ringgit = found(&core, "/currencies/MYR").await;
    assert_eq!(ringgit["minor_units"], 2);
    assert_eq!(ringgit["cash_increment"], "0.05");

    for (path, status, says) in [
        ("/countries/ZZ", 404, "code: there is no country ZZ"),
        ("/countries/vn", 400, "code: two capital letters"),
        ("/countries/VNM", 400, "code: two capital letters"),
        ("/countries/%FF", 400, "path: UTF-8"),
        ("/countries/%00%00", 400, "code: two capital letters"),
        ("/countries?page=2", 400, "query: "),
        ("/currencies/XXX", 404, "code: there is no currency XXX"),
        ("/currencies/vnd", 400, "code: three capital letters"),
    ] {
        let (detail, _) = problem(&core, path, status).await;
        assert!(detail.starts_with(says), "{path}: {detail}");
    }
    let unknown = get(&core, "/planets").await;
    unknown.assert_problem(404);
    let post = Request::post("/v1/master-data/countries");
    let answer = core.send(post.body(Body::empty()).unwrap()).await;
    answer.assert_problem(405);
}

#[tokio::test]
async fn a_rate_is_the_one_that_is_valid_on_the_day() {
    let core = core_of(Part::Hub).await;
    write(
        &core,
        "insert into smp_global.currency_rates (base, quote, valid_from, rate, source) values \
         ('USD', 'VND', '2026-05-01', 26300.125, 'bank'), ('USD', 'VND', '2026-07-01', null, 'bank')",
    )
    .await;
    let path = "/rates?base=USD&quote=VND&on=2026-06-01";
    crate::support::eventually("the new rate is served", async || {
        found(&core, path).await["rate"] == "26300.125"
    })
    .await;
    let rate = found(&core, path).await;
    assert_eq!(
        rate,
        json!({
            "base": "USD", "quote": "VND", "on": "2026-06-01", "rate": "26300.125",
            "valid_from": "2026-05-01", "source": "bank", "row_version": rate["row_version"],
        })
    );
    // The clock stands at 2026-03-01.
    let today = found(&core, "/rates?base=USD&quote=VND").await;
    assert_eq!(
        (&today["on"], &today["rate"], &today["valid_from"]),
        (&json!("2026-03-01"), &json!("26270"), &json!("2026-01-01"))
    );

    for (query, says) in [
        // None from there on; none yet; none of that pair, though there are USD→SGD and USD→THB.
        (
            "base=USD&quote=VND&on=2026-07-01",
            "from USD to VND on 2026-07-01",
        ),
        (
            "base=USD&quote=VND&on=2999-12-31",
            "from USD to VND on 2999-12-31",
        ),
        (
            "base=USD&quote=VND&on=2025-12-31",
            "from USD to VND on 2025-12-31",
        ),
        (
            "base=SGD&quote=THB&on=2026-06-01",
            "from SGD to THB on 2026-06-01",
        ),
    ] {
        let (detail, field) = problem(&core, &format!("/rates?{query}"), 404).await;
        assert_eq!(detail, format!("there is no rate {says}"));
        assert_eq!(field, Value::Null);
    }
    for (query, field, says) in [
        ("quote=VND", "base", "it must be given"),
        ("base=USD", "quote", "it must be given"),
        ("base=usd&quote=VND", "base", "three capital letters"),
        ("base=USD&quote=USD", "quote", "another currency"),
        ("base=USD&quote=VND&on=2026-02-30", "on", "YYYY-MM-DD"),
        ("base=USD&quote=VND&on=", "on", "YYYY-MM-DD"),
        ("base=USD&quote=VND&on=3000-01-01", "on", "2999-12-31"),
        ("base=USD&quote=VND&base=EUR", "base", "twice"),
        ("base=USD&quote=VND&at=2026-06-01", "query", "does not take"),
    ] {
        let (detail, of) = problem(&core, &format!("/rates?{query}"), 400).await;
        assert_eq!(of, field, "{query}");
        assert!(detail.contains(says), "{query}: {detail}");
    }
    let long = format!("/rates?base=USD&quote={}", "V".repeat(600));
    let (detail, _) = problem(&core, &long, 400).await;
    assert_eq!(detail, "query: at most 512 bytes");
}

/// Computed by hand from the seeds' rates.
#[tokio::test]
async fn an_amount_is_converted_exactly_and_rounded_to_the_targets_minor_units() {
    let core = core_of(Part::Region).await;
    for (amount, from, to, rate, unrounded, rounded) in [
        ("12.34", "USD", "VND", "26270", "324171.80", "324172"),
        ("-12.34", "USD", "VND", "26270", "-324171.80", "-324172"),
        ("0", "USD", "VND", "26270", "0", "0"),
        // 2.5 dong, to the even one; 7.5 too.
        ("0.0001", "USD", "VND", "26270", "2.6270", "3"),
        (
            "1000000",
            "VND",
            "USD",
            "0.000038066235249334",
            "38.066235249334000000",
            "38.07",
        ),
        (
            "1",
            "VND",
            "USD",
            "0.000038066235249334",
            "0.000038066235249334",
            "0.00",
        ),
        (
            "-1",
            "VND",
            "USD",
            "0.000038066235249334",
            "-0.000038066235249334",
            "0.00",
        ),
        // 12.858: half of a cent is 0.005.
        ("10", "USD", "SGD", "1.2858", "12.8580", "12.86"),
        ("2.5", "USD", "JPY", "156.72", "391.800", "392"),
        (
            "999999999999999999.9999",
            "USD",
            "VND",
            "26270",
            "26269999999999999999997.3730",
            "26269999999999999999997",
        ),
        (
            "-999999999999999999.9999",
            "EUR",
            "USD",
            "1.174536058256988490",
            "-1174536058256988489.9998825463941743011510",
            "-1174536058256988490.00",
        ),
    ] {
        let path = format!("/convert?amount={amount}&from={from}&to={to}&on=2026-06-01");
        assert_eq!(
            found(&core, &path).await,
            json!({
                "amount": amount, "from": from, "to": to, "on": "2026-06-01", "rate": rate,
                "valid_from": "2026-01-01", "source": "seed",
                "unrounded": unrounded, "rounded": rounded,
            }),
            "{path}"
        );
    }
    for amount in [
        "",
        "1e3",
        "%2B1",
        "1,000",
        ".5",
        "NaN",
        "1000000000000000000",
        "1.00001",
        "9".repeat(400).as_str(),
    ] {
        let path = format!("/convert?amount={amount}&from=USD&to=VND");
        let (detail, field) = problem(&core, &path, 400).await;
        assert_eq!(field, "amount");
        assert!(detail.contains("at most 18 before the point and 4 after it"));
    }
    let (_, field) = problem(&core, "/convert?from=USD&to=VND", 400).await;
    assert_eq!(field, "amount");
    let (_, field) = problem(&core, "/convert?amount=1&from=USD&to=USD", 400).await;
    assert_eq!(field, "to");
    // Neither the inverse nor a third currency stands in for a rate that is not there.
    let (detail, _) = problem(&core, "/convert?amount=1&from=SGD&to=VND", 404).await;
    assert_eq!(detail, "there is no rate from SGD to VND on 2026-03-01");
}

#[tokio::test]
async fn taxes_are_those_in_force_on_the_day() {
    let core = core_of(Part::Hub).await;
    let rates = async |on: &str| {
        let taxes = found(&core, &format!("/taxes?country=VN&on={on}")).await;
        assert_eq!(
            (&taxes["country"], &taxes["on"]),
            (&json!("VN"), &json!(on))
        );
        taxes["taxes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|tax| {
                let text = |field: &str| tax[field].as_str().unwrap().to_owned();
                format!("{} {} {}", text("kind"), text("category"), text("rate"))
            })
            .collect::<Vec<_>>()
    };
    let always = ["cit standard 0.20", "vat reduced 0.05", "vat standard 0.10"];
    for (on, reduction) in [
        ("2023-06-30", None),
        ("2023-07-01", Some("vat temporary_reduction 0.08")),
        ("2026-12-31", Some("vat temporary_reduction 0.08")),
        ("2027-01-01", None),
    ] {
        let mut expected = always.to_vec();
        expected.extend(reduction);
        expected.push("vat zero 0");
        assert_eq!(rates(on).await, expected, "{on}");
    }
    assert_eq!(rates("2008-12-31").await, Vec::<String>::new());
    let none = found(&core, "/taxes?country=SG").await;
    assert_eq!(none["taxes"], json!([]));

    let path = "/taxes/vat?country=VN&category=temporary_reduction";
    let tax = found(&core, &format!("{path}&on=2026-06-01")).await;
    assert_eq!(
        (&tax["kind"], &tax["rate"], &tax["valid_from"]),
        (&json!("vat"), &json!("0.08"), &json!("2025-07-01"))
    );
    assert!(tax["note"].as_str().unwrap().contains("Decree 174/2025"));
    let (detail, _) = problem(&core, &format!("{path}&on=2027-01-01"), 404).await;
    assert_eq!(
        detail,
        "there is no vat of category temporary_reduction in VN on 2027-01-01"
    );
    for (path, status, says) in [
        ("/taxes", 400, "country: it must be given"),
        ("/taxes?country=ZZ", 404, "country: there is no country ZZ"),
        ("/taxes?country=vn", 400, "country: two capital letters"),
        (
            "/taxes/VAT?country=VN&category=standard",
            400,
            "kind: 1 to 32",
        ),
        ("/taxes/vat?country=VN", 400, "category: it must be given"),
        ("/taxes/vat?country=VN&category=_", 400, "category: 1 to 64"),
        (
            "/taxes/vat?country=VN&category=standard&on=now",
            400,
            "on: ",
        ),
    ] {
        let (detail, _) = problem(&core, path, status).await;
        assert!(detail.starts_with(says), "{path}: {detail}");
    }
}

#[tokio::test]
async fn each_text_is_that_of_the_nearest_locale() {
    let core = core_of(Part::Hub).await;
    write(
        &core,
        "insert into smp_global.i18n_translations (locale, namespace, key, text) values \
         ('vi-VN', 'common', 'save', 'Lưu lại'), ('en', 'common', 'only_english', 'Only English')",
    )
    .await;
    let path = "/translations/vi-VN/common?sources=true";
    crate::support::eventually("the new texts are served", async || {
        found(&core, path).await["texts"]["save"] == "Lưu lại"
    })
    .await;
    let vietnamese = found(&core, path).await;
    assert_eq!(
        (&vietnamese["locale"], &vietnamese["namespace"]),
        (&json!("vi-VN"), &json!("common"))
    );
    for (key, text, source) in [
        ("save", "Lưu lại", "vi-VN"),
        ("cancel", "Hủy", "vi"),
        ("only_english", "Only English", "en"),
    ] {
        assert_eq!(vietnamese["texts"][key], text);
        assert_eq!(vietnamese["sources"][key], source);
    }
    assert_eq!(
        vietnamese["texts"].as_object().unwrap().len(),
        vietnamese["sources"].as_object().unwrap().len()
    );
    // In any case, extensions fall away, and an unknown language is English.
    for (locale, spelt, save) in [
        ("VI-vn-u-ca-buddhist", "vi-VN-u-ca-buddhist", "Lưu lại"),
        ("vi", "vi", "Lưu"),
        ("zh-hans-cn", "zh-Hans-CN", "保存"),
        ("de-DE", "de-DE", "Save"),
    ] {
        let texts = found(&core, &format!("/translations/{locale}/common")).await;
        assert_eq!(texts["locale"], spelt);
        assert_eq!(texts["texts"]["save"], save, "{locale}");
        assert_eq!(texts.get("sources"), None);
    }
    for (path, status, says) in [
        ("/translations/vi_VN/common", 400, "locale: a BCP 47 tag"),
        ("/translations/-/common", 400, "locale: a BCP 47 tag"),
        ("/translations/vi%2FVN/common", 400, "locale: a BCP 47 tag"),
        ("/translations/vi/Common", 400, "namespace: 1 to 64"),
        (
            "/translations/vi/common?sources=yes",
            400,
            "sources: true or false",
        ),
        (
            "/translations/vi/nothing",
            404,
            "namespace: there is no text in nothing",
        ),
    ] {
        let (detail, _) = problem(&core, path, status).await;
        assert!(detail.starts_with(says), "{path}: {detail}");
    }
}

#[tokio::test]
async fn an_answer_that_the_caller_has_is_not_sent_again() {
    let core = core_of(Part::Hub).await;
    for path in [
        "/countries",
        "/rates?base=USD&quote=VND&on=2026-06-01",
        "/translations/vi-VN/common",
        "/openapi.json",
    ] {
        let first = get(&core, path).await;
        assert_eq!(first.status, 200);
        assert_eq!(first.cache_control.as_deref(), Some("public, max-age=60"));
        assert_eq!(first.headers["vary"], "x-smp-min-seq");
        assert_eq!(
            first.headers.contains_key("x-smp-seq"),
            path != "/openapi.json"
        );
        let etag = first.headers["etag"].to_str().unwrap().to_owned();
        assert!(etag.starts_with('"') && etag.ends_with('"'), "{etag}");
        assert_eq!(get(&core, path).await.headers["etag"], etag.as_str());
        let asked = async |if_none_match: &str| {
            let request = Request::get(format!("/v1/master-data{path}"))
                .header("if-none-match", if_none_match)
                .body(Body::empty())
                .unwrap();
            core.send(request).await
        };
        for same in [etag.clone(), format!("\"x\", W/{etag}"), "*".to_owned()] {
            let again = asked(&same).await;
            assert_eq!(again.status, 304, "{same}");
            assert!(again.body.is_empty());
            for header in ["etag", "cache-control", "vary", "x-smp-seq"] {
                assert_eq!(again.headers.get(header), first.headers.get(header));
            }
        }
        for other in ["\"x\"", "", "W/"] {
            let answer = asked(other).await;
            assert_eq!((answer.status.as_u16(), &answer.body), (200, &first.body));
        }
    }
    let other = get(&core, "/countries/VN").await.headers["etag"].clone();
    assert_ne!(other, get(&core, "/countries/SG").await.headers["etag"]);
    let problem = get(&core, "/countries/ZZ").await;
    assert_eq!(problem.cache_control.as_deref(), Some("no-store"));
}

/// The routes are made from the list that describes them, so none can lack; this holds that they are
/// where they should be and that each says all that it may answer.
#[tokio::test]
async fn the_description_has_every_route_and_every_answer() {
    let core = core_of(Part::Hub).await;
    let served = found(&core, "/openapi.json").await;
    assert_eq!(served, serde_json::to_value(description()).unwrap());
    assert!(served["openapi"].as_str().unwrap().starts_with("3.1"));
    let routes = [
        ("/countries", "/countries"),
        ("/countries/{code}", "/countries/VN"),
        ("/currencies", "/currencies"),
        ("/currencies/{code}", "/currencies/VND"),
        ("/rates", "/rates?base=USD&quote=VND"),
        ("/convert", "/convert?amount=1&from=USD&to=VND"),
        ("/taxes", "/taxes?country=VN"),
        ("/taxes/{kind}", "/taxes/vat?country=VN&category=standard"),
        (
            "/translations/{locale}/{namespace}",
            "/translations/vi/common",
        ),
        (
            "/rates/{base}/{quote}/{valid_from}",
            "/rates/USD/VND/2026-01-01",
        ),
        (
            "/taxes/{country}/{kind}/{category}/{valid_from}",
            "/taxes/VN/vat/standard/2009-01-01",
        ),
        (
            "/translations/{locale}/{namespace}/{key}",
            "/translations/vi/common/save",
        ),
        ("/openapi.json", "/openapi.json"),
    ];
    let paths = served["paths"].as_object().unwrap();
    assert_eq!(paths.len(), routes.len());
    for (template, example) in routes {
        let operation = &paths[&format!("/v1/master-data{template}")]["get"];
        assert!(operation["summary"].is_string(), "{template}");
        let of_description = template == "/openapi.json";
        let statuses: &[&str] = if of_description {
            &["200", "304"]
        } else {
            &["200", "304", "400", "404", "409", "503"]
        };
        let responses = operation["responses"].as_object().unwrap();
        assert_eq!(responses.keys().collect::<Vec<_>>(), statuses, "{template}");
        let headers = &operation["responses"]["200"]["headers"];
        let described = ["etag", "cache-control", "x-smp-seq"];
        for header in &described[..if of_description { 2 } else { 3 }] {
            assert!(headers[header].is_object(), "{template}: {header}");
        }
        // What is said is what is answered: each member of the example is in the schema.
        if !of_description {
            let body = found(&core, example).await;
            let name =
                operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
                    .as_str()
                    .unwrap_or_else(|| panic!("{template}: {operation}"))
                    .trim_start_matches("#/components/schemas/")
                    .to_owned();
            let schema = served["components"]["schemas"][&name].to_string();
            assert!(schema.len() > 4, "{name}");
            let tax = served["components"]["schemas"]["Tax"].to_string();
            for member in body.as_object().unwrap().keys() {
                let member = format!("\"{member}\":");
                let is_there =
                    schema.contains(&member) || (name == "TaxAnswer" && tax.contains(&member));
                assert!(is_there, "{member} is not in {name}: {schema}");
            }
        }
    }
    assert!(served["components"]["schemas"]["ProblemDocument"]["properties"]["detail"].is_object());

    // What is written is a row, and only by whoever says who it is.
    let scheme = &served["components"]["securitySchemes"]["bearer"];
    assert_eq!(
        (&scheme["type"], &scheme["scheme"]),
        (&json!("http"), &json!("bearer"))
    );
    for (template, _) in routes
        .iter()
        .filter(|(template, _)| template.ends_with('}'))
    {
        let path = &paths[&format!("/v1/master-data{template}")];
        let is_row = !matches!(
            *template,
            "/taxes/{kind}" | "/translations/{locale}/{namespace}"
        );
        for method in ["put", "delete"] {
            let operation = &path[method];
            assert_eq!(operation.is_object(), is_row, "{method} {template}");
            if !is_row {
                continue;
            }
            assert_eq!(operation["security"], json!([{"bearer": []}]));
            let text = operation.to_string();
            for said in ["if-match", "x-smp-seq", "\"401\"", "\"412\"", "\"428\""] {
                assert!(text.contains(said), "{method} {template}: {said}");
            }
        }
    }
}
