//! What is backed up comes back.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use crate::support::{World, add_customers, number, picture, run, run_badly, run_well, texts};

/// Rows in tables of every kind, with what is awkward in a text.
const ROWS: &str = r#"
insert into pancake_connection (connection_id, country_code, workspace, api_key_encrypted)
    values ('main', 'VN', E'a\tb\\c\nd\r\u2028 "x" \\N', '\x000102ff0a09');
insert into app_setting (country_code, app_settings) values ('VN', '{"a": {"b": [1, null, "ế\n"]}, "n": 1e400}');
insert into staff (staff_id, country_code, subject, display_name, role)
    select gen_random_uuid(), 'VN', 'telesale-' || n, E'Trần \\. ' || n, 'telesale' from generate_series(1, 3) n;
insert into account (account_id, country_code, name, phone_number, email)
    select gen_random_uuid(), 'VN', case n % 3 when 0 then null when 1 then '' else '\N' end, '09' || n, null
    from generate_series(1, 5000) n;
insert into contact_book (contact_id, country_code, account_id, name)
    select gen_random_uuid(), country_code, account_id, E'\\\t\n' from account limit 100;
insert into pancake_webhook_event (event_id, country_code, region_id, connection_id, layer, payload_hash, payload,
                                   source_ids, modified_on)
    select gen_random_uuid(), 'VN', 'smp-asia', 'main', 'poll', sha256(n::text::bytea),
           convert_to(repeat(chr(1 + n), n * 400), 'UTF8') || '\x0000ff', array['a', 'b,c', '{"\', null, ''],
           case n % 2 when 0 then 'infinity' else '-infinity' end::timestamptz
    from generate_series(1, 100) n;
insert into ticket (ticket_id, country_code, source_id, connection_id, record_digest, phone_state, status)
    select gen_random_uuid(), 'VN', 'ticket_source_1', 'main', sha256(n::text::bytea), 'usable', 'in_progress'
    from generate_series(1, 20) n;
insert into ticket_assignment (assignment_id, country_code, ticket_id, staff_id, method)
    select gen_random_uuid(), 'VN', ticket_id, staff_id, 'automatic' from ticket cross join staff;
insert into job_run (run_id, country_code, job, state, started_at, finished_at)
    select gen_random_uuid(), 'VN', 'poll', 'ok', now(), now() from generate_series(1, 7);
delete from crm_master_data where id = (select min(id) from crm_master_data c
    where not exists (select from ticket where source_id = c.id));
"#;

#[tokio::test]
async fn a_hub_comes_back_whole_and_works_on() {
    let world = World::new("smp-asia").await;
    world.prepare(world.source(), None);
    run(&mut world.as_role("core_owner", world.source()).await, ROWS).await;
    let mut editor = world.as_role("core_editor", world.source()).await;
    run(&mut editor, "delete from smp_global.i18n_translations where key = (select min(key) from smp_global.i18n_translations)").await;
    let told = world.backup();
    let mode = fs::metadata(world.file()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(told["header"]["is_sealed"], json!(true));
    let before = picture(&mut world.admin(world.source()).await).await;

    let shown = run_well(&mut world.restore_command(&[]));
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("\"found\": \"absent\""), "{shown}");
    let is_there = format!(
        "select count(*) from pg_database where datname = '{}'",
        world.target()
    );
    assert_eq!(
        number(&mut world.admin("postgres").await, &is_there).await,
        0
    );

    let restored = world.restore();
    assert_eq!(restored["restored"], json!(true));
    let mut target = world.admin(world.target()).await;
    assert_eq!(picture(&mut target).await, before);

    // Run again it finds all of it there and touches nothing.
    let again = world.restore();
    assert_eq!(again["restored"], json!(false));
    assert_eq!(again["found"], json!("used"));

    // Identities go on behind what is there, triggers fire again, and the others' rights are as ever.
    let mut app = world.as_role("core_app", world.target()).await;
    run(
        &mut app,
        "insert into job_run (run_id, country_code, job, state) values (gen_random_uuid(), 'VN', 'poll', 'requested')",
    )
    .await;
    assert_eq!(
        number(&mut target, "select max(number) from public.job_run").await,
        8
    );
    let logged = number(&mut target, "select count(*) from smp_global.change_log").await;
    let mut editor = world.as_role("core_editor", world.target()).await;
    run(
        &mut editor,
        "update smp_global.countries set name = 'Viet Nam!' where code = 'VN'",
    )
    .await;
    let after = number(&mut target, "select count(*) from smp_global.change_log").await;
    assert_eq!(after, logged + 1);
    world.end().await;
}

#[tokio::test]
async fn a_region_that_is_no_hub_comes_back_with_its_position_in_the_stream() {
    let world = World::new("smp-china").await;
    world.prepare(world.source(), None);
    let mut applier = world.as_role("master_data_applier", world.source()).await;
    // Children may be there before their parents.
    run(
        &mut applier,
        "insert into smp_global.currencies (code, numeric_code, name, minor_units, symbol, row_version) \
             values ('CNY', '156', 'Yuan Renminbi', 2, '¥', 1099511627790); \
         insert into smp_global.currency_rates (base, quote, valid_from, rate, source, row_version) \
             values ('USD', 'CNY', '2026-01-01', 7.1, 'test', 1099511627791); \
         update smp_global.applied_position set next_offset = 4711, applied_seq = 1099511627791",
    )
    .await;
    world.backup();
    let before = picture(&mut world.admin(world.source()).await).await;
    world.restore();
    let mut target = world.admin(world.target()).await;
    assert_eq!(picture(&mut target).await, before);
    let offset = number(
        &mut target,
        "select next_offset from smp_global.applied_position",
    )
    .await;
    assert_eq!(offset, 4711);
    world.end().await;
}

/// A table with what no migration of ours has yet.
const ODD: &str = r#"
create type mood as enum ('glad', 'so so');
create domain short as text check (octet_length(value) < 10);
create table "Odd ""table""" (
    id bigint generated always as identity primary key, "Ünï cödé" text, number double precision, exact numeric,
    span interval, day date, at time with time zone, moment timestamptz, net inet, bits bit varying, window_of int4range,
    words tsvector, mood mood, short short, loose json, tight jsonb, many int[][], bytes bytea,
    twice numeric generated always as (exact * 2) stored, parent bigint references "Odd ""table""");
insert into "Odd ""table""" ("Ünï cödé", number, exact, span, day, at, moment, net, bits, window_of, words, mood, short,
                             loose, tight, many, bytes, parent) values
    (null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null),
    ('', 'NaN', 'NaN', '-1 mons +2 days -03:00:00.000001', '0044-03-15 BC', '23:59:59.999999-15:59', '4713-01-01 00:00:00+00 BC',
     '::1/64', B'0101', 'empty', 'a:1 b:2', 'so so', 'short', E'{ "a" :\t1,\n"a":2 }', '{"a": "\\u00e9\\\\"}',
     '{{1,2},{null,4}}', '\x00', 1),
    (E'\\N', '-Infinity', 12345678901234567890.123456789000, '178000000 years', 'infinity', '00:00+00', 'infinity',
     '10.0.0.1', B'', '[1,)', '', 'glad', '', '[]', 'null', '{}', '', 2),
    (E'\\.\r\n\b\f\v\t\\', 5e-324, 0.10, '0', '5874897-12-31', '24:00:00-00', '294276-12-31 23:59:59.999999+00',
     '1.2.3.4/8', B'1', null, null, null, null, '"x"', '1.50', null, decode(repeat('00ff0a5c', 10), 'hex'), 4);
insert into "Odd ""table""" (number) select random() * exp(n) from generate_series(1, 500) n;
create table by_day (day date not null, n int) partition by range (day);
create table by_day_1 partition of by_day for values from ('2026-01-01') to ('2026-02-01');
create table by_day_2 partition of by_day default;
insert into by_day select '2026-01-01'::date + n, n from generate_series(1, 90) n;
create table nothing ();
insert into nothing select from generate_series(1, 3);
"#;

#[tokio::test]
async fn values_of_every_type_come_back_as_they_were() {
    let world = World::new("smp-china").await;
    world.prepare(world.source(), None);
    let mut owner = world.as_role("core_owner", world.source()).await;
    run(&mut owner, ODD).await;
    world.backup();
    let before = picture(&mut world.admin(world.source()).await).await;

    // No migration makes these tables: that is said, and what was begun is taken back.
    let told = run_badly(&mut world.restore_command(&["--yes"]));
    assert!(
        told.contains("Odd \"table\": the backup has it and the schema has not"),
        "{told}"
    );
    let (form, _) = ODD.split_once("insert into").unwrap();
    let mut target = world.as_role("core_owner", world.target()).await;
    run(&mut target, form).await;
    let (_, rest) = ODD.split_once("create table by_day ").unwrap();
    let (partitions, _) = rest.split_once("insert into").unwrap();
    run(
        &mut target,
        &format!("create table by_day {partitions}; create table nothing ()"),
    )
    .await;

    world.restore();
    assert_eq!(
        picture(&mut world.admin(world.target()).await).await,
        before
    );
    let parts = texts(
        &mut target,
        "select count(*)::text from by_day_1 union all select count(*)::text from by_day_2",
    )
    .await;
    assert_eq!(parts, ["30", "60"]);
    world.end().await;
}

#[tokio::test]
async fn a_backup_of_an_older_schema_comes_back_as_that_and_migrates_on() {
    let world = World::new("smp-asia").await;
    world.prepare(world.source(), Some(23));
    add_customers(
        &mut world.as_role("core_owner", world.source()).await,
        0,
        10,
    )
    .await;
    world.backup();
    world.restore();
    let mut target = world.admin(world.target()).await;
    assert_eq!(
        number(
            &mut target,
            "select max(version) from public._core_migrations"
        )
        .await,
        23
    );

    world.prepare(world.target(), None);
    let newest = number(
        &mut target,
        "select max(version) from public._core_migrations",
    );
    assert!(newest.await > 23);
    assert_eq!(
        number(&mut target, "select count(*) from public.account").await,
        10
    );
    // It is not the backup's schema any more, and restored over it is nothing.
    let told = run_well(&mut world.restore_command(&["--yes"]));
    assert!(String::from_utf8_lossy(&told.stdout).contains("\"restored\": false"));
    world.end().await;
}
