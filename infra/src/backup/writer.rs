//! Writes a backup, from its first byte to its last.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use protocol::at_rest::{AtRestKeys, NONCE_BYTES};
use ring::rand::{SecureRandom as _, SystemRandom};

use super::archive::{
    END, FRAME_LIMIT_BYTES, HEADER, Header, MAGIC, MANIFEST, Manifest, ROWS, context,
};
use super::digest::Sha256;

/// Why a backup was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The file cannot be written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A piece is longer than a frame may be.
    #[error("a row is too long for a backup: a gigabyte is the most")]
    TooLong,
    /// The header does not say what is the case.
    #[error("the header says that the backup is sealed and there is no key, or the other way")]
    Header,
    /// No randomness, or nothing to seal with.
    #[error("it could not be sealed")]
    Seal,
    /// It cannot be written as JSON.
    #[error("manifest: {0}")]
    Json(#[from] serde_json::Error),
}

/// A backup that is being written. It is none before [`Writer::end`].
pub struct Writer<W> {
    out: W,
    sha256: Sha256,
    header_sha256: [u8; 32],
    keys: Option<AtRestKeys>,
    frames: u64,
    bytes: u64,
}

/// A backup that was written.
#[derive(Debug)]
pub struct Written<W> {
    /// Where it went.
    pub out: W,
    /// How long it is.
    pub bytes: u64,
    /// Of all of it: hexadecimal.
    pub sha256: String,
}

impl<W: Write> Writer<W> {
    /// Writes the header.
    pub fn begin(out: W, header: &Header, keys: Option<AtRestKeys>) -> Result<Self, WriteError> {
        if header.is_sealed != keys.is_some() {
            return Err(WriteError::Header);
        }
        let mut writer = Self {
            out,
            sha256: Sha256::new(),
            header_sha256: [0; 32],
            keys,
            frames: 0,
            bytes: 0,
        };
        writer.write(&MAGIC)?;
        writer.frame(HEADER, &[], &serde_json::to_vec(header)?)?;
        writer.header_sha256 = writer.sha256.so_far();
        Ok(writer)
    }

    /// Writes whole rows of the table that has this number in the manifest.
    pub fn rows(&mut self, table: u32, lines: &[u8]) -> Result<(), WriteError> {
        let content = self.closed(ROWS, table, lines)?;
        self.frame(ROWS, &table.to_be_bytes(), &content)
    }

    /// Writes what makes it whole.
    pub fn end(mut self, manifest: &Manifest) -> Result<Written<W>, WriteError> {
        let content = self.closed(MANIFEST, 0, &serde_json::to_vec(manifest)?)?;
        self.frame(MANIFEST, &[], &content)?;
        let sha256 = self.sha256.so_far();
        self.frame(END, &[], &sha256)?;
        self.out.flush()?;
        Ok(Written {
            out: self.out,
            bytes: self.bytes,
            sha256: crate::hex(&self.sha256.so_far()),
        })
    }

    /// How long it is so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Compressed, and sealed where there is a key.
    fn closed(&self, kind: u8, table: u32, content: &[u8]) -> Result<Vec<u8>, WriteError> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(content)?;
        let compressed = encoder.finish()?;
        let Some(keys) = &self.keys else {
            return Ok(compressed);
        };
        let mut nonce = [0; NONCE_BYTES];
        SystemRandom::new()
            .fill(&mut nonce)
            .map_err(|_| WriteError::Seal)?;
        let purpose = context(&self.header_sha256, self.frames, kind, table);
        keys.seal(&purpose, &compressed, nonce)
            .map_err(|_| WriteError::Seal)
    }

    fn frame(&mut self, kind: u8, head: &[u8], content: &[u8]) -> Result<(), WriteError> {
        let length = u32::try_from(head.len() + content.len())
            .ok()
            .filter(|length| *length <= FRAME_LIMIT_BYTES)
            .ok_or(WriteError::TooLong)?;
        self.write(&[kind])?;
        self.write(&length.to_be_bytes())?;
        self.write(head)?;
        self.write(content)?;
        self.frames += 1;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sha256.update(bytes);
        self.bytes += bytes.len() as u64;
        self.out.write_all(bytes)
    }
}
