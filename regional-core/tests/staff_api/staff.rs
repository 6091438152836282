//! Who works here, when they are away, and whose leads they take.

use axum::http::Method;
use serde_json::json;

use super::office::{ADMIN, HOA, LAN, MANAGER, Office, Who, blamed, column, etag, problem, sg, vn};

#[tokio::test]
async fn the_staff_are_listed_and_one_sees_oneself() {
    let office = Office::open().await;
    let all = office.found(MANAGER, "/staff").await;
    assert_eq!(all["items"].as_array().unwrap().len(), 4);
    let telesales = office
        .found(MANAGER, "/staff?role=telesale&active=true")
        .await;
    let mut names = column(&telesales, "display_name");
    names.sort();
    assert_eq!(names, ["Hoa", "Lan"]);
    let lan = office.found(LAN, &format!("/staff/{}", vn("0c2"))).await;
    assert_eq!(
        (&lan["open_tickets"], &lan["capacity"]),
        (&json!(1), &json!(50))
    );
    problem(
        &office.get(LAN, &format!("/staff/{}", vn("0c3"))).await,
        404,
    );
    problem(
        &office.get(ADMIN, &format!("/staff/{}", sg("0c2"))).await,
        404,
    );

    let mut walked = Vec::new();
    let mut next = String::new();
    loop {
        let page = office.found(ADMIN, &format!("/staff?limit=1{next}")).await;
        walked.extend(column(&page, "staff_id"));
        let Some(cursor) = page["next"].as_str() else {
            break;
        };
        next = format!("&cursor={cursor}");
    }
    assert_eq!(walked, ["0c4", "0c3", "0c2", "0c1"].map(vn));
}

#[tokio::test]
async fn somebody_is_added_and_may_work_at_once() {
    let office = Office::open().await;
    let new = json!({"subject": "newbie", "display_name": "Nguyễn Văn Mới", "role": "telesale", "capacity": 7});
    let added = office.post(MANAGER, "/staff", &new).await;
    assert_eq!(added.status, 201, "{}", added.text());
    assert_eq!(
        (&added.json()["capacity"], &added.json()["is_active"]),
        (&json!(7), &json!(true))
    );
    let newbie = Who {
        subject: "newbie",
        ..LAN
    };
    assert_eq!(office.found(newbie, "/tickets").await["items"], json!([]));
    problem(&office.post(MANAGER, "/staff", &new).await, 409);
    // The same subject may work in another country too.
    let of_sg = Who {
        countries: &["SG"],
        ..ADMIN
    };
    assert_eq!(office.post(of_sg, "/staff", &new).await.status, 201);

    let manager = json!({"subject": "boss", "display_name": "Boss", "role": "manager"});
    problem(&office.post(MANAGER, "/staff", &manager).await, 403);
    assert_eq!(office.post(ADMIN, "/staff", &manager).await.status, 201);
    for (body, blames) in [
        (json!({}), vec!["subject", "display_name", "role"]),
        (
            json!({"subject": "x".repeat(129), "display_name": "", "role": "boss", "capacity": 0, "staff_id": 1}),
            vec!["subject", "display_name", "role", "capacity", "staff_id"],
        ),
        (
            json!({"subject": "a\nb", "display_name": "x", "role": "telesale", "capacity": 1.5}),
            vec!["subject", "capacity"],
        ),
    ] {
        assert_eq!(
            blamed(&office.post(ADMIN, "/staff", &body).await),
            blames,
            "{body}"
        );
    }
}

#[tokio::test]
async fn somebody_is_changed_by_version_and_only_an_admin_gives_roles() {
    let office = Office::open().await;
    let path = format!("/staff/{}", vn("0c2"));
    let before = etag(&office.get(ADMIN, &path).await);
    let changed = office
        .patch(
            MANAGER,
            &path,
            &before,
            &json!({"capacity": 3, "display_name": "Lan Anh"}),
        )
        .await;
    assert_eq!(
        (changed.status.as_u16(), &changed.json()["capacity"]),
        (200, &json!(3))
    );
    problem(
        &office
            .patch(MANAGER, &path, &before, &json!({"capacity": 4}))
            .await,
        412,
    );
    problem(
        &office
            .patch_as_read(MANAGER, &path, &json!({"role": "manager"}))
            .await,
        403,
    );
    assert_eq!(
        office
            .patch_as_read(ADMIN, &path, &json!({"role": "admin"}))
            .await
            .json()["role"],
        "admin"
    );
    problem(
        &office
            .patch_as_read(MANAGER, &path, &json!({"is_active": false}))
            .await,
        403,
    );
    assert_eq!(
        office
            .patch_as_read(
                ADMIN,
                &path,
                &json!({"is_active": false, "role": "telesale"})
            )
            .await
            .status,
        200
    );
    problem(&office.get(LAN, "/tickets").await, 403);
    problem(
        &office
            .patch(
                ADMIN,
                &format!("/staff/{}", sg("0c2")),
                "\"1\"",
                &json!({"capacity": 4}),
            )
            .await,
        404,
    );
    problem(
        &office
            .send(ADMIN, Method::PATCH, &path, &[], "{\"capacity\":1}")
            .await,
        428,
    );
}

#[tokio::test]
async fn absences_come_and_go() {
    let office = Office::open().await;
    let path = format!("/staff/{}/absences", vn("0c2"));
    let leave = json!({"starts_at": "2000-01-01T00:00:00+07:00", "ends_at": "2999-01-01T00:00:00Z", "reason": "Nghỉ phép"});
    let added = office.post(MANAGER, &path, &leave).await;
    assert_eq!(added.status, 201, "{}", added.text());
    assert_eq!(added.json()["starts_at"], "1999-12-31T17:00:00Z");
    let lan = office.found(LAN, &format!("/staff/{}", vn("0c2"))).await;
    assert_eq!(lan["is_absent"], true);
    let listed = office.found(LAN, &path).await;
    assert_eq!(column(&listed, "reason"), ["Nghỉ phép"]);
    problem(&office.get(HOA, &path).await, 404);
    for (body, blames) in [
        (
            json!({"starts_at": "2026-01-01T00:00:00Z", "ends_at": "2026-01-01T00:00:00Z"}),
            vec!["ends_at"],
        ),
        (
            json!({"starts_at": "tomorrow", "reason": 1}),
            vec!["starts_at", "ends_at", "reason"],
        ),
    ] {
        assert_eq!(blamed(&office.post(MANAGER, &path, &body).await), blames);
    }
    let one = format!("{path}/{}", added.json()["absence_id"].as_str().unwrap());
    let elsewhere = one.replace(&vn("0c2"), &vn("0c3"));
    problem(
        &office
            .send(MANAGER, Method::DELETE, &elsewhere, &[], "")
            .await,
        404,
    );
    assert_eq!(
        office
            .send(MANAGER, Method::DELETE, &one, &[], "")
            .await
            .status,
        204
    );
    problem(
        &office.send(MANAGER, Method::DELETE, &one, &[], "").await,
        404,
    );
    problem(
        &office
            .post(MANAGER, &format!("/staff/{}/absences", sg("0c2")), &leave)
            .await,
        404,
    );
}

#[tokio::test]
async fn a_manager_changes_nothing_of_an_admin() {
    let office = Office::open().await;
    office
        .run("update staff set role = 'admin' where subject = 'hoa'")
        .await;
    let hoa = format!("/staff/{}", vn("0c3"));
    let leave = json!({"starts_at": "2026-01-01T00:00:00Z", "ends_at": "2026-01-02T00:00:00Z"});
    let absence = format!("{hoa}/absences/{}", vn("0ca"));
    let sources = json!({"source_ids": []}).to_string();
    let change = async |who| {
        [
            office
                .patch_as_read(who, &hoa, &json!({"capacity": 1}))
                .await,
            office.post(who, &format!("{hoa}/absences"), &leave).await,
            office.send(who, Method::DELETE, &absence, &[], "").await,
            office
                .send(
                    who,
                    Method::PUT,
                    &format!("{hoa}/sources"),
                    &[],
                    sources.clone(),
                )
                .await,
        ]
    };
    for refused in change(MANAGER).await {
        let refusal = problem(&refused, 403);
        assert_eq!(refusal["detail"], "only an admin changes an admin");
    }
    assert_eq!(office.audit().await, json!([]));
    // They are seen all the same.
    for path in [
        hoa.clone(),
        format!("{hoa}/absences"),
        format!("{hoa}/sources"),
    ] {
        office.found(MANAGER, &path).await;
    }
    let statuses = change(ADMIN).await.map(|answer| answer.status.as_u16());
    assert_eq!(statuses, [200, 201, 204, 200]);
}

#[tokio::test]
async fn sources_are_replaced_as_a_whole() {
    let office = Office::open().await;
    let path = format!("/staff/{}/sources", vn("0c3"));
    assert_eq!(
        office.found(HOA, &path).await,
        json!({"source_ids": ["fb"]})
    );
    let put = async |body: &serde_json::Value| {
        office
            .send(MANAGER, Method::PUT, &path, &[], body.to_string())
            .await
    };
    let both = json!({"source_ids": ["(none)", "แหล่งที่มา"]});
    assert_eq!(put(&both).await.json(), both);
    assert_eq!(put(&both).await.json(), both);
    assert_eq!(
        put(&json!({"source_ids": []})).await.json(),
        json!({"source_ids": []})
    );
    assert_eq!(
        office.audit().await.as_array().unwrap().len(),
        2,
        "no change, no row"
    );
    for source_ids in [
        json!(["a", "a"]),
        json!([""]),
        json!("a"),
        json!([1]),
        json!(vec!["x".repeat(257)]),
        json!((0..201).map(|n| n.to_string()).collect::<Vec<_>>()),
    ] {
        assert_eq!(
            blamed(&put(&json!({"source_ids": source_ids})).await),
            ["source_ids"]
        );
    }
    assert_eq!(blamed(&put(&json!({})).await), ["source_ids"]);
}
