//! A database that is gone without a word. PostgreSQL itself ends what takes too long, and says so; this is for
//! when nothing is said any more, which would otherwise be waited for as long as the connection seems open.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use sqlx::Postgres;
use sqlx::pool::PoolConnection;
use tokio::time::{Instant, sleep};

use crate::db;

/// Nothing came for too long.
#[derive(Debug)]
pub(crate) struct Silent;

impl From<Silent> for sqlx::Error {
    fn from(_: Silent) -> Self {
        Self::Io(io::Error::new(
            io::ErrorKind::TimedOut,
            "the database does not answer",
        ))
    }
}

/// Does what talks to the database, in any number of round trips, until nothing comes for `patience`. Whatever
/// wakes it meanwhile is an answer.
pub(crate) async fn unless_silent<T>(
    patience: Duration,
    talk: impl Future<Output = T>,
) -> Result<T, Silent> {
    let mut talk = pin!(talk);
    let mut silence = pin!(sleep(patience));
    poll_fn(|context| {
        if let Poll::Ready(outcome) = talk.as_mut().poll(context) {
            return Poll::Ready(Ok(outcome));
        }
        if silence.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(Silent));
        }
        silence.as_mut().reset(Instant::now() + patience);
        // A timer that was set anew wakes nobody before it is asked.
        silence.as_mut().poll(context).map(|()| Err(Silent))
    })
    .await
}

/// Gives the connection back; or closes it, after a silence: what it would say next is the answer to something
/// else.
pub(super) fn heard<T, E: From<sqlx::Error>>(
    mut connection: PoolConnection<Postgres>,
    outcome: Result<Result<T, E>, Silent>,
) -> Result<T, E> {
    outcome.unwrap_or_else(|silent| {
        connection.close_on_drop();
        Err(sqlx::Error::from(silent).into())
    })
}

/// What may be said of an error: nothing that may quote a row.
pub(super) fn describe(failure: &sqlx::Error) -> String {
    match failure {
        sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } => {
            "a row is not what it should be".to_owned()
        }
        sqlx::Error::Encode(_) => "a value could not be written".to_owned(),
        other => db::describe(other),
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const PATIENCE: Duration = Duration::from_millis(100);

    #[tokio::test]
    async fn who_goes_on_answering_may_take_any_time_and_who_does_not_is_given_up() {
        let answering = unless_silent(PATIENCE, async {
            for _ in 0..20 {
                sleep(Duration::from_millis(10)).await;
            }
            7
        });
        assert_eq!(answering.await.unwrap(), 7);
        let silent = unless_silent(PATIENCE, std::future::pending::<()>());
        let given_up = timeout(Duration::from_secs(10), silent).await.unwrap();
        assert!(matches!(
            sqlx::Error::from(given_up.unwrap_err()),
            sqlx::Error::Io(_)
        ));
    }

    #[test]
    fn no_value_is_quoted() {
        let index = "name".to_owned();
        for failure in [
            sqlx::Error::Decode("0912345678".into()),
            sqlx::Error::ColumnDecode {
                index,
                source: "0912345678".into(),
            },
            sqlx::Error::Encode("0912345678".into()),
        ] {
            assert!(!describe(&failure).contains("0912345678"));
        }
    }
}
