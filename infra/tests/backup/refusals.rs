//! What is refused, and that nothing was touched then.

use std::fs;

use crate::support::{World, add_customers, number, picture, run, run_badly, run_well};

#[tokio::test]
async fn a_backup_that_would_not_hold_everything_is_not_taken() {
    let world = World::new("smp-asia").await;
    world.prepare(world.source(), None);
    let told = run_badly(
        world
            .backup_command()
            .env_remove("REPLICATOR_OWNER_DATABASE_URL"),
    );
    assert!(
        told.contains("smp_global.") && told.contains("REPLICATOR_OWNER_DATABASE_URL"),
        "{told}"
    );

    let mut admin = world.admin(world.source()).await;
    // Somebody else's, in a schema that nobody told smpctl of.
    run(
        &mut admin,
        "create schema aside; create table aside.more (n int)",
    )
    .await;
    let told = run_badly(&mut world.backup_command());
    assert!(told.contains("aside.more belongs to postgres"), "{told}");
    run(&mut admin, "drop schema aside cascade").await;

    // Policies that hold for the owner too would leave rows out.
    run(&mut admin, "alter table account force row level security").await;
    let told = run_badly(&mut world.backup_command());
    assert!(
        told.contains("public.account") && told.contains("row-level security"),
        "{told}"
    );
    run(
        &mut admin,
        "alter table account no force row level security",
    )
    .await;

    run(&mut admin, "select lo_from_bytea(0, 'x')").await;
    let told = run_badly(&mut world.backup_command());
    assert!(told.contains("large objects"), "{told}");
    run(
        &mut admin,
        "select lo_unlink(oid) from pg_largeobject_metadata",
    )
    .await;

    run(
        &mut admin,
        "update smp_global.node set region_id = 'smp-china'",
    )
    .await;
    let told = run_badly(&mut world.backup_command());
    assert!(told.contains("the database of smp-china"), "{told}");
    run(
        &mut admin,
        "update smp_global.node set region_id = 'smp-asia'",
    )
    .await;

    let names: Vec<_> = fs::read_dir(&world.folder).unwrap().collect();
    assert_eq!(names.len(), 1, "the key alone: {names:?}");
    world.end().await;
}

#[tokio::test]
async fn nothing_is_written_unsealed_by_mistake_nor_over_another_backup() {
    let world = World::new("smp-china").await;
    world.prepare(world.source(), None);
    let command = || {
        let mut command = world.smpctl(&["region", "backup", "smp-china", "--into"]);
        command
            .arg(world.file())
            .envs(world.variables(world.source()));
        command
    };
    let told = run_badly(&mut command());
    assert!(told.contains("--unsealed"), "{told}");
    let told = run_well(command().arg("--unsealed"));
    assert!(String::from_utf8_lossy(&told.stdout).contains("NOT sealed"));
    let before = fs::read(world.file()).unwrap();
    let told = run_badly(&mut world.backup_command());
    assert!(told.contains("never written over"), "{told}");
    assert_eq!(fs::read(world.file()).unwrap(), before);

    // Into a folder, by a name of its own.
    let mut into_folder = world.smpctl(&["region", "backup", "smp-china", "--unsealed", "--into"]);
    into_folder
        .arg(&world.folder)
        .envs(world.variables(world.source()));
    let told = run_well(&mut into_folder);
    assert!(String::from_utf8_lossy(&told.stdout).contains("/smp-china-20"));
    world.end().await;
}

#[tokio::test]
async fn a_backup_is_restored_in_its_region_only() {
    let world = World::new("smp-asia").await;
    world.prepare(world.source(), None);
    world.backup();
    let mut command = world.smpctl(&["region", "restore", "smp-china", "--yes", "--from"]);
    command
        .arg(world.file())
        .arg("--keys-file")
        .arg(world.key())
        .envs(world.variables(world.target()));
    let told = run_badly(&mut command);
    assert!(
        told.contains("this is a backup of smp-asia: data stays in its region"),
        "{told}"
    );
    let is_there = format!(
        "select count(*) from pg_database where datname = '{}'",
        world.target()
    );
    assert_eq!(
        number(&mut world.admin("postgres").await, &is_there).await,
        0
    );

    // Nor into a database that says that it is another's.
    let mut admin = world.admin(world.source()).await;
    run(
        &mut admin,
        "update smp_global.node set region_id = 'smp-china'",
    )
    .await;
    let told = run_badly(
        world
            .restore_command(&["--yes"])
            .envs(world.variables(world.source())),
    );
    assert!(told.contains("the database is smp-china's"), "{told}");
    world.end().await;
}

#[tokio::test]
async fn a_database_that_somebody_works_with_is_not_touched_and_every_difference_is_named() {
    let world = World::new("smp-asia").await;
    world.prepare(world.source(), None);
    add_customers(
        &mut world.as_role("core_owner", world.source()).await,
        0,
        10,
    )
    .await;
    world.backup();
    world.restore();
    let mut target = world.admin(world.target()).await;
    for (change, said) in [
        // A row is another; one is gone; one has come. Each on top of those before.
        (
            "update public.account set name = 'x' where phone_number = '093'",
            "public.account: its 10 rows have digest",
        ),
        (
            "delete from public.contact_book where ctid = (select min(ctid) from public.contact_book)",
            "public.contact_book: 9 rows are there and 10 in the backup",
        ),
        (
            "insert into public.audit_log select gen_random_uuid() limit 0; \
          update smp_global.relay_state set published_seq = published_seq + 1; \
          insert into public.contact_book (contact_id, country_code, account_id) \
              select gen_random_uuid(), 'VN', account_id from public.account limit 1",
            "public.contact_book: its 10 rows have digest",
        ),
    ] {
        run(&mut target, change).await;
        let before = picture(&mut target).await;
        let told = run_badly(&mut world.restore_command(&["--yes"]));
        assert!(told.contains(said), "{told}");
        assert!(told.contains("\"restored\": false"), "{told}");
        assert_eq!(picture(&mut target).await, before);
    }
    world.end().await;
}

#[tokio::test]
async fn an_empty_database_with_a_newer_schema_is_not_gone_back_with() {
    let world = World::new("smp-asia").await;
    world.prepare(world.source(), Some(23));
    world.backup();
    world.prepare(world.target(), None);
    let told = run_badly(&mut world.restore_command(&["--yes"]));
    // Whatever the newest migration is by now.
    assert!(
        told.contains("public._core_migrations: the database is at ")
            && told.contains(" and the backup at 23"),
        "{told}"
    );

    // And one that is of later than the programs is not taken for what they know.
    let mut admin = world.admin(world.source()).await;
    run(
        &mut admin,
        "insert into public._core_migrations select 9999, 'later', now(), true, '\\x00', 1",
    )
    .await;
    fs::remove_file(world.file()).unwrap();
    world.backup();
    run(
        &mut world.admin("postgres").await,
        &format!("drop database {} with (force)", world.target()),
    )
    .await;
    let told = run_badly(&mut world.restore_command(&["--yes"]));
    assert!(
        told.contains("migrate up --to 9999") && told.contains("9999"),
        "{told}"
    );
    world.end().await;
}

#[tokio::test]
async fn a_damaged_file_is_refused_before_the_server_is_asked() {
    let world = World::new("smp-china").await;
    world.prepare(world.source(), None);
    add_customers(
        &mut world.as_role("core_owner", world.source()).await,
        0,
        1000,
    )
    .await;
    world.backup();
    let whole = fs::read(world.file()).unwrap();
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    for broken in [&whole[..whole.len() - 1], &whole[..middle], &flipped] {
        fs::write(world.file(), broken).unwrap();
        let mut verify = world.smpctl(&["region", "verify-backup", "--json"]);
        verify.arg(world.file());
        run_badly(&mut verify);
        run_badly(verify.arg("--keys-file").arg(world.key()));
        run_badly(
            world
                .restore_command(&["--yes"])
                .envs(world.variables("nowhere")),
        );
    }
    fs::write(world.file(), &whole).unwrap();
    let mut verify = world.smpctl(&["region", "verify-backup"]);
    run_well(verify.arg(world.file()).arg("--keys-file").arg(world.key()));
    world.end().await;
}
