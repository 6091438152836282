//! The transaction of a request: it sees what its caller may see, and is committed together with its row in
//! the audit trail, or not at all.

use serde_json::{Map, Value, json};
use sqlx::{PgConnection, PgTransaction};

use super::caller::Caller;
use super::store::access;
use super::value::{Id, Role};
use crate::db::ROUND_TRIP_GRACE;
use crate::error::{NotStaff, StaffApiError};

/// The part of the CRM whose actions are in `module_permission_action`.
pub(super) const MODULE: &str = "pancake_crm_integration";

/// What may be done with the Pancake integration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Access,
    ManageConnection,
    ManageSource,
    ToggleSwitch,
    Replay,
    ViewReport,
}

impl Action {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::ManageConnection => "manage_connection",
            Self::ManageSource => "manage_source",
            Self::ToggleSwitch => "toggle_switch",
            Self::Replay => "replay",
            Self::ViewReport => "view_report",
        }
    }
}

/// A transaction as `core_staff`. Nothing else in this module talks to the database. Dropped, it is rolled back.
pub(super) struct Desk<'c> {
    transaction: PgTransaction<'static>,
    caller: &'c Caller,
    /// Who the caller is on the staff; an admin need not be on it.
    pub(super) staff_id: Option<Id>,
}

impl Caller {
    /// Begins one.
    pub(super) async fn desk(&self) -> Result<Desk<'_>, StaffApiError> {
        let limits = &self.app.config.database;
        self.deadline
            .set(limits.acquire_timeout + limits.statement_timeout + ROUND_TRIP_GRACE);
        let mut transaction = self.app.staff.begin().await?;
        let (country, role) = (self.country.as_str(), self.role.as_str());
        access::become_staff(&mut transaction, country, role, &self.subject).await?;
        let staff = access::identify(&mut transaction, country, &self.subject).await?;
        let staff_id = match staff {
            Some(known) if known.is_active => Some(known.staff_id),
            // A manager may make rows, but none of an admin: such a row shuts no admin out.
            Some(known) if self.role != Role::Admin || known.role == Role::Admin.as_str() => {
                return Err(StaffApiError::NotStaff(NotStaff::Inactive));
            }
            _ if self.role == Role::Admin => None,
            _ => return Err(StaffApiError::NotStaff(NotStaff::Missing)),
        };
        Ok(Desk {
            transaction,
            caller: self,
            staff_id,
        })
    }

    /// Begins one for an action of the Pancake integration, if the role may take it.
    pub(super) async fn desk_for(&self, action: Action) -> Result<Desk<'_>, StaffApiError> {
        let mut desk = self.desk().await?;
        let (role, action) = (self.role.as_str(), action.as_str());
        if access::may(desk.connection(), MODULE, action, role).await? {
            Ok(desk)
        } else {
            Err(StaffApiError::NotAllowed {
                module: MODULE,
                action,
                role,
            })
        }
    }
}

impl Desk<'_> {
    pub(super) fn connection(&mut self) -> &mut PgConnection {
        &mut self.transaction
    }

    /// Ends a transaction that changed nothing.
    pub(super) async fn leave(self) -> Result<(), StaffApiError> {
        Ok(self.transaction.rollback().await?)
    }

    /// Commits what was changed, together with who changed it.
    pub(super) async fn commit(mut self, change: Change) -> Result<(), StaffApiError> {
        access::insert_audit(&mut self.transaction, self.caller, &change).await?;
        let deadline = &self.caller.deadline;
        // Who only reads is not kept from doing it again by what the audit trail has.
        if self.caller.changes {
            deadline.note_commit();
        }
        self.transaction
            .commit()
            .await
            .map_err(|failure| match failure.into() {
                StaffApiError::Unavailable => deadline.unheard(),
                refusal => refusal,
            })
    }
}

/// A row of the audit trail.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) action: &'static str,
    pub(super) entity: &'static str,
    pub(super) entity_id: String,
    changes: Map<String, Value>,
}

impl Change {
    pub(super) fn new(
        action: &'static str,
        entity: &'static str,
        entity_id: &(impl ToString + ?Sized),
    ) -> Self {
        Self {
            action,
            entity,
            entity_id: entity_id.to_string(),
            changes: Map::new(),
        }
    }

    /// A field that says nothing of a person, if it changed.
    #[must_use]
    pub(super) fn field<T: Into<Value> + PartialEq>(mut self, name: &str, from: T, to: T) -> Self {
        if from != to {
            let change = json!({"from": from.into(), "to": to.into()});
            self.changes.insert(name.to_owned(), change);
        }
        self
    }

    /// A field of a new row that says nothing of a person.
    #[must_use]
    pub(super) fn set(mut self, name: &str, to: impl Into<Value>) -> Self {
        self.changes
            .insert(name.to_owned(), json!({"to": to.into()}));
        self
    }

    /// A field that may be personal data: that it changed is all that is kept.
    #[must_use]
    pub(super) fn hidden(mut self, name: &str, is_changed: bool) -> Self {
        if is_changed {
            self.changes
                .insert(name.to_owned(), json!({"changed": true}));
        }
        self
    }

    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    pub(super) fn changes(&self) -> Value {
        Value::Object(self.changes.clone())
    }
}
