//! What a table's rows come to, in whatever order they come.

use ring::digest::{Context, SHA256};

/// A count, and the sum of the rows' hashes (the first 128 bits of each row's SHA-256, as COPY writes it). Two tables
/// of the same rows have the same, whatever order their rows are in.
///
/// It finds mistakes. Somebody who forges rows on purpose is kept out by the archive's seal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RowDigest {
    rows: u64,
    sum: u128,
}

impl RowDigest {
    /// Adds a row, without its line's end.
    pub fn add(&mut self, line: &[u8]) {
        let hash = ring::digest::digest(&SHA256, line);
        let head = hash.as_ref().first_chunk().copied().unwrap_or_default();
        self.rows += 1;
        self.sum = self.sum.wrapping_add(u128::from_be_bytes(head));
    }

    /// How many.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Their hashes' sum: 32 hexadecimal digits.
    #[must_use]
    pub fn hash(&self) -> String {
        format!("{:032x}", self.sum)
    }
}

/// Rows that come in pieces which need not end where a row does.
#[derive(Debug, Default)]
pub struct RowStream {
    digest: RowDigest,
    rest: Vec<u8>,
}

/// The last row has no end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the last row is cut off")]
pub struct CutOff;

impl RowStream {
    /// Takes the next piece.
    pub fn push(&mut self, mut bytes: &[u8]) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (line, after) = bytes.split_at(end);
            if self.rest.is_empty() {
                self.digest.add(line);
            } else {
                self.rest.extend_from_slice(line);
                self.digest.add(&self.rest);
                self.rest.clear();
            }
            bytes = after.get(1..).unwrap_or_default();
        }
        self.rest.extend_from_slice(bytes);
    }

    /// How many rows came so far.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.digest.rows
    }

    /// What all of them come to.
    pub fn finish(self) -> Result<RowDigest, CutOff> {
        if self.rest.is_empty() {
            Ok(self.digest)
        } else {
            Err(CutOff)
        }
    }
}

/// SHA-256 of what passes.
pub(super) struct Sha256(Context);

impl Sha256 {
    pub(super) fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(super) fn so_far(&self) -> [u8; 32] {
        let digest = self.0.clone().finish();
        digest.as_ref().try_into().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pieces: &[&[u8]]) -> Result<RowDigest, CutOff> {
        let mut stream = RowStream::default();
        for piece in pieces {
            stream.push(piece);
        }
        stream.finish()
    }

    #[test]
    fn the_order_of_rows_and_where_pieces_end_do_not_matter() {
        let whole = of(&[b"a\t1\nb\t2\n\nc\t3\n"]).unwrap();
        assert_eq!(whole.rows(), 4);
        assert_eq!(
            of(&[b"c\t3\na", b"\t1", b"\n", b"", b"\nb\t2\n"]),
            Ok(whole)
        );
    }

    #[test]
    fn a_row_that_is_twice_missing_or_changed_is_seen() {
        let whole = of(&[b"a\nb\n"]).unwrap();
        for other in [
            b"a\n".as_slice(),
            b"a\na\nb\n",
            b"a\nc\n",
            b"b\nb\n",
            b"ab\n\n",
        ] {
            assert_ne!(of(&[other]).unwrap(), whole);
        }
        assert_eq!(of(&[b"a\nb"]), Err(CutOff));
    }

    #[test]
    fn a_digest_is_the_same_on_every_machine_and_in_every_version() {
        let digest = of(&[b"abc\n"]).unwrap();
        assert_eq!(digest.hash(), "ba7816bf8f01cfea414140de5dae2223");
    }
}
