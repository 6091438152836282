//! What webhooks did not bring: polling, reconciliation, watermarks, and the jobs that do it.

mod faults;
mod jobs;
mod pages;
mod polling;
mod reconciling;
mod shop;
mod specification;
mod suspension;
mod watermark;
