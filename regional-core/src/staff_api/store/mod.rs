//! The SQL of this API, all of it as `core_staff` (see `desk`). Each statement names the country, by which its
//! index is found; that it sees no other is row-level security's doing.

pub(super) mod access;
pub(super) mod assignments;
pub(super) mod connections;
pub(super) mod events;
pub(super) mod jobs;
pub(super) mod notifications;
pub(super) mod rejected;
pub(super) mod replays;
pub(super) mod reports;
pub(super) mod sources;
pub(super) mod staff;
pub(super) mod switches;
pub(super) mod tickets;
pub(super) mod walk;

use tracing::{error, warn};

use crate::db::describe;
use crate::error::StaffApiError;
use crate::ingest::store::{Failure, classify};

impl From<sqlx::Error> for StaffApiError {
    fn from(refusal: sqlx::Error) -> Self {
        let constraint = refusal
            .as_database_error()
            .and_then(sqlx::error::DatabaseError::constraint);
        match constraint {
            Some("staff_subject_key") => {
                return Self::Conflict("subject: somebody of this subject is on the staff already");
            }
            Some("pancake_connection_pkey" | "pancake_connection_country_key") => {
                return Self::Conflict("connection_id: a connection of this id is there already");
            }
            Some("ticket_open_record_key") => {
                return Self::Conflict(
                    "status: another ticket of the same record is open: close that one first",
                );
            }
            Some("ticket_open_person_key") => {
                return Self::Conflict(
                    "status: another ticket of the same person is open: close that one first",
                );
            }
            _ => {}
        }
        match classify(&refusal) {
            Failure::Connection | Failure::Unavailable => {
                warn!(error = %describe(&refusal), "staff are not answered");
                Self::Unavailable
            }
            Failure::Data | Failure::Bug => {
                error!(error = %describe(&refusal), "a request of staff failed");
                Self::Internal
            }
        }
    }
}
