//! Where a list goes on: opaque to callers, and read with the same care as anything they send.
//!
//! A cursor holds the sort key of the last row that was given, which never changes; so a walk meets each row that
//! is there all the time exactly once, whatever is added meanwhile. It opens nothing: row-level security
//! holds for each page anew.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::query::{Parameters, invalid, read_name};
use super::value::{Id, Moment};
use crate::error::StaffApiError;

const EXPECTED: &str = "what `next` of the same list gave is expected";

/// A place in a list that is sorted by a moment and an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) at: Moment,
    pub(super) id: Id,
}

/// The lists, each of which takes its own cursors only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct List(pub(super) &'static str);

impl List {
    pub(super) fn place(self, parameters: &Parameters) -> Result<Option<Place>, StaffApiError> {
        parameters
            .get("cursor")
            .map(|text| self.read_place(text))
            .transpose()
    }

    pub(super) fn read_place(self, text: &str) -> Result<Place, StaffApiError> {
        let (micros, id): (i64, Uuid) = self.read(text)?;
        let at = Moment::from_micros(micros).ok_or(invalid("cursor", EXPECTED))?;
        Ok(Place { at, id: Id(id) })
    }

    pub(super) fn write_place(self, place: Place) -> String {
        self.write((place.at.micros(), place.id.0))
    }

    pub(super) fn names(
        self,
        parameters: &Parameters,
    ) -> Result<Option<(String, String)>, StaffApiError> {
        let Some(text) = parameters.get("cursor") else {
            return Ok(None);
        };
        let (first, second): (String, String) = self.read(text)?;
        let is_good = |name: &str| name.is_empty() || read_name(name).is_some();
        if is_good(&first) && is_good(&second) {
            Ok(Some((first, second)))
        } else {
            Err(invalid("cursor", EXPECTED))
        }
    }

    pub(super) fn write_names(self, first: &str, second: &str) -> String {
        self.write((first, second))
    }

    fn read<T: DeserializeOwned>(self, text: &str) -> Result<T, StaffApiError> {
        let read = || -> Option<(String, T)> {
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
        };
        match read() {
            Some((list, key)) if list == self.0 => Ok(key),
            _ => Err(invalid("cursor", EXPECTED)),
        }
    }

    fn write(self, key: impl Serialize) -> String {
        // Two texts and a number cannot fail to be JSON.
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&(self.0, key)).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIST: List = List("events");

    proptest! {
        #[test]
        fn each_place_is_read_as_it_is_written(micros in 0..250_000_000_000_000_000_i64, id in any::<u128>()) {
            let at = Moment::from_micros(micros).unwrap();
            let place = Place { at, id: Id(Uuid::from_u128(id)) };
            let text = LIST.write_place(place);
            prop_assert_eq!(LIST.read_place(&text), Ok(place));
            prop_assert!(List("tickets").read_place(&text).is_err());
        }

        #[test]
        fn no_text_makes_it_panic(text in any::<String>(), json in any::<String>()) {
            let _read = LIST.read_place(&text);
            let _read = LIST.read_place(&URL_SAFE_NO_PAD.encode(json));
        }
    }

    #[test]
    fn what_was_made_up_is_refused() {
        for json in [
            "[]",
            "[\"events\"]",
            "[\"events\",[-1,\"01890a5d-ac96-774b-bcce-b302099a8057\"]]",
            "[\"events\",[9223372036854775807,\"01890a5d-ac96-774b-bcce-b302099a8057\"]]",
            "[\"events\",[1,\"x\"]]",
        ] {
            LIST.read_place(&URL_SAFE_NO_PAD.encode(json)).unwrap_err();
        }
    }
}
