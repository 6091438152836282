//! The `wasm-bindgen` command as `worker-build` calls it: reads one `.wasm`, writes its JavaScript bindings.
//!
//! An option not listed here is an error, never ignored: a new `worker-build` that wants more must be noticed.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use wasm_bindgen_cli_support::Bindgen;

/// What one run is asked to do.
struct Job {
    bindgen: Bindgen,
    input: PathBuf,
    out_dir: PathBuf,
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|arg| arg == "--version" || arg == "-V") {
        println!("wasm-bindgen {}", wasm_bindgen_shared::version());
        return Ok(());
    }
    let mut job = parse(args)?;
    job.bindgen
        .input_path(&job.input)
        .generate(&job.out_dir)
        .with_context(|| format!("making the bindings of {}", job.input.display()))
}

fn parse(args: Vec<String>) -> Result<Job> {
    let mut bindgen = Bindgen::new();
    bindgen.typescript(true);
    let (mut input, mut out_dir) = (None, None);

    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let mut value = || args.next().with_context(|| format!("{arg} needs a value"));
        match arg.as_str() {
            "--out-dir" => out_dir = Some(PathBuf::from(value()?)),
            "--out-name" => _ = bindgen.out_name(&value()?),
            "--target" => set_target(&mut bindgen, &value()?)?,
            "--typescript" => _ = bindgen.typescript(true),
            "--no-typescript" => _ = bindgen.typescript(false),
            "--no-demangle" => _ = bindgen.demangle(false),
            "--debug" => _ = bindgen.debug(true),
            "--keep-debug" => _ = bindgen.keep_debug(true),
            "--omit-default-module-path" => _ = bindgen.omit_default_module_path(true),
            "--split-linked-modules" => _ = bindgen.split_linked_modules(true),
            "--experimental-reset-state-function" => _ = bindgen.reset_state_function(true),
            "--force-enable-abort-handler" => _ = bindgen.force_enable_abort_handler(true),
            option if option.starts_with('-') => bail!("unknown option {option}"),
            _ if input.is_some() => bail!("more than one input file: {arg}"),
            _ => input = Some(PathBuf::from(arg)),
        }
    }
    Ok(Job {
        bindgen,
        input: input.context("no input file")?,
        out_dir: out_dir.context("no --out-dir")?,
    })
}

fn set_target(bindgen: &mut Bindgen, target: &str) -> Result<()> {
    match target {
        "module" => bindgen.module(true)?,
        "bundler" => bindgen.bundler(true)?,
        other => bail!("unknown target {other}"),
    };
    Ok(())
}
