//! A region is opened, once counsel has agreed to what it is.

use crate::left::Writes;
use crate::world::{World, json, said};

const OPEN: &[&str] = &["open", "smp-us", "--why", "it begins"];

fn open() -> Vec<&'static str> {
    [OPEN, &["--yes"]].concat()
}

/// That neither command opens it, and that both say why.
#[track_caller]
fn nobody_opens_it(world: &World, why: &str) {
    let before = world.tree();
    let said = world.refuses(&open());
    assert!(
        said.contains(why) && said.contains("is not opened"),
        "{said}"
    );
    world.tree().is(&before, why);
}

#[test]
fn a_region_is_not_opened_without_a_sign_off_of_what_it_is() {
    let world = World::new("open");
    world.add();
    nobody_opens_it(
        &world,
        "nobody has signed smp-us off (smpctl region sign-off)",
    );
    for change in [
        &["open", "smp-us"][..],
        &["open", "US"],
        &["flip", "CN", "--to", "smp-us"],
    ] {
        let before = world.tree();
        let refused = world.routes(&[change, &["--why", "now", "--yes"]].concat());
        assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
        let told = "WRONG    sign-off of smp-us: nobody has signed smp-us off";
        assert!(said(&refused).contains(told), "{}", said(&refused));
        world.tree().is(&before, "it was refused");
    }

    // What is signed off is what it is: another country is another matter.
    world.sign_off();
    world.edit("infra/regions/smp-us.toml", "[\"US\"]", "[\"US\", \"CA\"]");
    nobody_opens_it(
        &world,
        "its countries, place, operator, laws, licences or spool have changed since",
    );
    let refused = world.routes(&["open", "smp-us", "--why", "now", "--yes"]);
    assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
    let told = "WRONG    sign-off of smp-us: smp-us is not what Jane Roe, DPO signed off";
    assert!(said(&refused).contains(told), "{}", said(&refused));
    world.edit("infra/regions/smp-us.toml", "[\"US\", \"CA\"]", "[\"US\"]");

    // A licence that it needs must have been seen.
    let file = "infra/regions/smp-us.toml";
    let signed = world.text(file);
    world.edit(
        file,
        "[jurisdiction]\n",
        "[jurisdiction]\nlicences = [\"Seller's permit\"]\n",
    );
    nobody_opens_it(&world, "have changed since");
    let mut sign = world.smpctl(&[
        "region",
        "sign-off",
        "smp-us",
        "--by",
        "Jane Roe, DPO",
        "--reference",
        "LEGAL-43",
    ]);
    let unseen = sign.arg("--yes").output().unwrap();
    assert_eq!(unseen.status.code(), Some(1));
    let told = "nothing was recorded: smp-us: Seller's permit was not seen to be granted; --granted LICENCE";
    assert!(said(&unseen).contains(told), "{}", said(&unseen));
    world.write(file, &signed);
}

#[test]
fn a_region_is_opened_once_nothing_is_missing_and_again_it_is_so_already() {
    let world = World::new("open-well");
    world.add();
    world.sign_off();
    world.stubs.break_it("core");
    nobody_opens_it(&world, "MISSING  core, replicator");
    world.stubs.mend();
    // A region may begin without anybody who sends.
    world.stubs.break_it("connections");

    let before = world.tree();
    let looked = world.does(OPEN);
    assert!(
        looked.contains("nothing was changed: --yes does it"),
        "{looked}"
    );
    world.tree().is(&before, "without --yes");
    let opened = world.does(&open());
    assert!(
        opened.contains("done: the edge answers with version 3"),
        "{opened}"
    );
    for file in ["wrangler.toml", "run/wrangler.toml"] {
        let routes = crate::http::routes(&world.text(file));
        let us = protocol::Country::parse("US").unwrap();
        assert_eq!(
            routes.state(us),
            protocol::routes::RouteState::Open,
            "{file}"
        );
    }
    let history = world.tree().comparable();
    let history = history.get("run/routes.jsonl").unwrap().to_owned();
    assert!(
        history.contains("Anna it begins open smp-us 3"),
        "{history}"
    );

    let opened = world.tree();
    let again = world.run(&[&open()[..], &["--json"]].concat());
    assert!(again.status.success(), "{}", said(&again));
    let again = json(&again);
    assert_eq!(again["is_done"], true);
    assert!(
        again["said"]
            .as_str()
            .unwrap()
            .starts_with("it is so already: "),
        "{again}"
    );
    world.tree().is(&opened, "again");
    // What is open stays so, whoever adds the region once more.
    world.add();
    world.tree().is(&opened, "added once more");
    // What has served does not wait for counsel to serve again after a pause.
    world.edit(
        "infra/regions/smp-us.toml",
        "us-west-2 (Oregon)",
        "us-east-1 (Virginia)",
    );
    for change in ["pause", "open"] {
        let done = world.routes(&[change, "smp-us", "--why", "maintenance", "--yes"]);
        assert!(done.status.success(), "{}", said(&done));
    }
    world.edge_was_never_down();
}

#[test]
fn killed_while_it_is_opened_the_same_command_goes_on() {
    let world = World::new("open-killed");
    world.add();
    world.sign_off();
    world.save("before");
    world.does(&open());
    world.save("after");
    let expected = world.tree().comparable();
    let line = "run/routes.jsonl+1";
    let order = [line, "wrangler.toml", "run/wrangler.toml", line];
    let writes = Writes::new(&world, ("before", "after"), &order);
    for cut in writes.cuts() {
        let when = writes.leave(&world, cut);
        world.does(&open());
        world.tree().comparable().is(&expected, &when);
    }
}
