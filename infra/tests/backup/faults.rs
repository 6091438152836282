//! Others write meanwhile, and power goes.

use std::fs;

use crate::support::{
    World, add_customers, json, number, picture, run_well, start, texts, wait_for,
};

const MANY: u32 = 30_000;

#[tokio::test]
async fn a_backup_is_of_one_moment_while_others_write() {
    let world = World::new("smp-asia").await;
    world.prepare(world.source(), None);
    let mut owner = world.as_role("core_owner", world.source()).await;
    add_customers(&mut owner, 0, MANY).await;
    let mut editor = world.as_role("core_editor", world.source()).await;

    let mut command = world.backup_command();
    let backup = std::thread::spawn(move || run_well(&mut command));
    // Always one of each in a transaction, and of two tables of two owners.
    let mut written = 0;
    while !backup.is_finished() {
        let both = "begin; update smp_global.countries set name = name || '!' where code = 'VN' and length(name) < 60";
        crate::support::run(&mut editor, &format!("{both}; commit")).await;
        add_customers(&mut owner, MANY + written, 1).await;
        written += 1;
    }
    let told = json(&backup.join().unwrap());
    world.restore();
    let mut target = world.admin(world.target()).await;
    let accounts = number(&mut target, "select count(*) from public.account").await;
    let contacts = number(&mut target, "select count(*) from public.contact_book").await;
    assert_eq!(accounts, contacts, "a transaction is in it by half");
    let seen = accounts - i64::from(MANY);
    assert!(
        (0..i64::from(written)).contains(&seen),
        "nothing was written during the backup: {seen} of {written}, {told}"
    );
    // The log of changes and the rows that it tells of belong to the same moment.
    let behind = number(
        &mut target,
        "select count(*) from smp_global.countries c where not exists \
             (select from smp_global.change_log l where l.seq = c.row_version)",
    )
    .await;
    assert_eq!(behind, 0);
    world.end().await;
}

#[tokio::test]
async fn a_backup_that_is_killed_leaves_none_and_the_next_one_clears_up() {
    let world = World::new("smp-asia").await;
    world.prepare(world.source(), None);
    add_customers(
        &mut world.as_role("core_owner", world.source()).await,
        0,
        MANY,
    )
    .await;
    let partial = world.file().with_extension("smpbackup.partial");
    let mut child = start(&mut world.backup_command());
    wait_for("the file was begun", &mut child, async || partial.exists()).await;
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!world.file().exists());
    assert!(partial.exists(), "it ended by itself");
    let mut verify = world.smpctl(&["region", "verify-backup"]);
    crate::support::run_badly(verify.arg(&partial));

    world.backup();
    assert!(!partial.exists());
    world.restore();
    let mut source = world.admin(world.source()).await;
    let mut target = world.admin(world.target()).await;
    assert_eq!(picture(&mut target).await, picture(&mut source).await);
    world.end().await;
}

#[tokio::test]
async fn a_restore_that_is_killed_at_any_moment_is_run_again_and_ends_the_same() {
    let world = World::new("smp-asia").await;
    world.prepare(world.source(), None);
    add_customers(
        &mut world.as_role("core_owner", world.source()).await,
        0,
        MANY,
    )
    .await;
    world.backup();
    let before = picture(&mut world.admin(world.source()).await).await;
    let mut admin = world.admin("postgres").await;
    let asked = |what: &str| {
        format!(
            "select count(*) from pg_stat_activity where datname = '{}' and application_name = 'smpctl region' \
             and {what}",
            world.target()
        )
    };
    let moments = [
        (
            "the database is there",
            format!(
                "select count(*) from pg_database where datname = '{}'",
                world.target()
            ),
        ),
        (
            "rows are loaded",
            asked("query like 'copy \"public\".\"contact_book\"%'"),
        ),
        ("rows are compared", asked("query like 'copy (select%'")),
        ("all is committed", asked("query = 'analyze'")),
    ];
    for (what, sql) in &moments {
        let mut child = start(&mut world.restore_command(&["--yes"]));
        wait_for(what, &mut child, async || number(&mut admin, sql).await > 0).await;
        child.kill().unwrap();
        child.wait().unwrap();
        // Whatever it left under way on the server ends by itself; its programs too.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        let left = format!(
            "select count(*) from pg_stat_activity where datname = '{}'",
            world.target()
        );
        while number(&mut admin, &left).await > 0 {
            assert!(
                std::time::Instant::now() < deadline,
                "somebody is left: {what}"
            );
        }
        if *what != "all is committed" && *what != "the database is there" {
            let mut target = world.admin(world.target()).await;
            assert_eq!(
                number(&mut target, "select count(*) from public.account").await,
                0,
                "{what}"
            );
        }
    }
    let told = world.restore();
    assert_eq!(told["found"], "used", "the last one was committed: {told}");
    let mut target = world.admin(world.target()).await;
    assert_eq!(picture(&mut target).await, before);
    let names = texts(
        &mut target,
        "select datname::text from pg_database where datname = current_database()",
    )
    .await;
    assert_eq!(names, [world.target()]);
    let files = fs::read_dir(&world.folder).unwrap().count();
    assert_eq!(files, 2, "the key and the backup");
    world.end().await;
}
