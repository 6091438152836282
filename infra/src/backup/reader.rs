//! Reads a backup, and believes nothing of it that was not checked.

use std::io::{self, Read};

use flate2::read::GzDecoder;
use protocol::at_rest::{AtRestError, AtRestKeys};

use super::archive::{
    END, FORMAT, FRAME_LIMIT_BYTES, HEADER, Header, MAGIC, MANIFEST, Manifest, ROWS, context,
};
use super::digest::{RowStream, Sha256};

/// Why a file is no backup, or not one that can be used here.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It does not begin as one.
    #[error("this is no backup of smpctl's")]
    NoBackup,
    /// A later smpctl wrote it.
    #[error(
        "it has form {0}, which this smpctl does not know: take the one that wrote it, or a later one"
    )]
    Newer(u32),
    /// Its end is missing.
    #[error("it is cut off after {0} bytes: it was never finished, or not copied whole")]
    CutOff(u64),
    /// It is not as it was written.
    #[error("it is damaged at byte {at}: {why}")]
    Damaged {
        /// Where.
        at: u64,
        /// What is wrong.
        why: &'static str,
    },
    /// It is sealed.
    #[error(
        "it is sealed: SMP_BACKUP_KEYS or --keys-file has to hold the key that it was sealed with"
    )]
    KeyMissing,
    /// It is sealed with another key.
    #[error("none of the given keys is the one that it was sealed with")]
    OtherKey,
    /// What is in it is not what its manifest says.
    #[error("{0}")]
    Differs(String),
}

/// What comes next.
#[derive(Debug)]
pub enum Piece {
    /// Whole rows of a table.
    Rows {
        /// Its number in the manifest.
        table: u32,
        /// Lines of COPY's text format.
        lines: Vec<u8>,
    },
    /// Rows of a table, still sealed.
    Sealed,
    /// That was all, and the checksum is right. None = it is sealed and there is no key.
    End(Option<Manifest>),
}

/// A backup that is being read.
pub struct Reader<'k, R> {
    input: Input<R>,
    header: Header,
    header_sha256: [u8; 32],
    keys: Option<&'k AtRestKeys>,
}

impl<'k, R: Read> Reader<'k, R> {
    /// Reads the header. Of a sealed backup nothing else can be read without its key, but it can be seen to be whole.
    pub fn open(input: R, keys: Option<&'k AtRestKeys>) -> Result<Self, ReadError> {
        let mut input = Input {
            from: input,
            sha256: Sha256::new(),
            frames: 0,
            at: 0,
        };
        let mut magic = [0; MAGIC.len()];
        match input.fill(&mut magic) {
            Ok(()) if magic == MAGIC => {}
            Ok(()) | Err(ReadError::CutOff(_)) => return Err(ReadError::NoBackup),
            Err(error) => return Err(error),
        }
        let (kind, content) = input.frame()?;
        let unreadable = || input.damaged("the header cannot be read");
        let form: Form = serde_json::from_slice(&content).map_err(|_| unreadable())?;
        if kind != HEADER {
            return Err(unreadable());
        }
        if form.format != FORMAT {
            return Err(ReadError::Newer(form.format));
        }
        let header = serde_json::from_slice(&content).map_err(|_| unreadable())?;
        Ok(Self {
            header_sha256: input.sha256.so_far(),
            input,
            header,
            keys,
        })
    }

    /// What it says of itself.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// How much of it was read.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.input.at
    }

    /// SHA-256 of what was read: hexadecimal.
    #[must_use]
    pub fn sha256(&self) -> String {
        crate::hex(&self.input.sha256.so_far())
    }

    /// Reads on.
    pub fn piece(&mut self) -> Result<Piece, ReadError> {
        let number = self.input.frames;
        let (kind, content) = self.input.frame()?;
        match kind {
            ROWS => {
                let (table, content) = content
                    .split_first_chunk()
                    .ok_or_else(|| self.damaged("a frame is too short"))?;
                let table = u32::from_be_bytes(*table);
                Ok(match self.open_frame(kind, number, table, content)? {
                    Some(lines) => Piece::Rows { table, lines },
                    None => Piece::Sealed,
                })
            }
            MANIFEST => {
                let manifest = match self.open_frame(kind, number, 0, &content)? {
                    Some(manifest) => Some(
                        serde_json::from_slice(&manifest)
                            .map_err(|_| self.damaged("the manifest cannot be read"))?,
                    ),
                    None => None,
                };
                self.end()?;
                Ok(Piece::End(manifest))
            }
            _ => Err(self.damaged("a frame is of no kind that is known")),
        }
    }

    fn end(&mut self) -> Result<(), ReadError> {
        let expected = self.input.sha256.so_far();
        let (kind, content) = self.input.frame()?;
        if kind != END || content != expected {
            return Err(self.damaged("its checksum is another"));
        }
        if self.input.from.read(&mut [0])? != 0 {
            return Err(self.damaged("something stands behind its end"));
        }
        Ok(())
    }

    /// None where it is sealed and there is no key.
    fn open_frame(
        &self,
        kind: u8,
        number: u64,
        table: u32,
        content: &[u8],
    ) -> Result<Option<Vec<u8>>, ReadError> {
        let opened;
        let compressed = if self.header.is_sealed {
            let Some(keys) = self.keys else {
                return Ok(None);
            };
            let purpose = context(&self.header_sha256, number, kind, table);
            opened = keys.open(&purpose, content).map_err(|error| match error {
                AtRestError::UnknownKey => ReadError::OtherKey,
                _ => self.damaged("a sealed frame does not open"),
            })?;
            opened.as_slice()
        } else {
            content
        };
        let mut plain = Vec::new();
        // What decompresses to more than a frame may have held was not written by us.
        let most = u64::from(FRAME_LIMIT_BYTES) + 1;
        let length = GzDecoder::new(compressed)
            .take(most)
            .read_to_end(&mut plain)
            .map_err(|_| self.damaged("a frame does not decompress"))?;
        if length as u64 == most {
            return Err(self.damaged("a frame is too long"));
        }
        Ok(Some(plain))
    }

    fn damaged(&self, why: &'static str) -> ReadError {
        self.input.damaged(why)
    }
}

/// The header's first field, which every form has.
#[derive(serde::Deserialize)]
struct Form {
    format: u32,
}

/// Frames, and what they come to.
struct Input<R> {
    from: R,
    sha256: Sha256,
    frames: u64,
    at: u64,
}

impl<R: Read> Input<R> {
    fn frame(&mut self) -> Result<(u8, Vec<u8>), ReadError> {
        let mut kind = [0];
        let mut length = [0; 4];
        self.fill(&mut kind)?;
        self.fill(&mut length)?;
        let length = u32::from_be_bytes(length);
        if length > FRAME_LIMIT_BYTES {
            return Err(self.damaged("a frame is too long"));
        }
        let mut content = Vec::new();
        // As much as there is, so that a length that is no length costs no memory.
        let read = self
            .from
            .by_ref()
            .take(length.into())
            .read_to_end(&mut content)?;
        self.sha256.update(&content);
        self.at += read as u64;
        if read as u64 != u64::from(length) {
            return Err(ReadError::CutOff(self.at));
        }
        self.frames += 1;
        let [kind] = kind;
        Ok((kind, content))
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), ReadError> {
        match self.from.read_exact(buffer) {
            Ok(()) => {
                self.sha256.update(buffer);
                self.at += buffer.len() as u64;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(ReadError::CutOff(self.at))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn damaged(&self, why: &'static str) -> ReadError {
        ReadError::Damaged { at: self.at, why }
    }
}

/// A backup that is whole.
#[derive(Debug)]
pub struct Verified {
    /// What it says of itself.
    pub header: Header,
    /// What is in it, each table's rows counted and compared. None = sealed, and no key was given.
    pub manifest: Option<Manifest>,
    /// How long it is.
    pub bytes: u64,
    /// Of all of it: hexadecimal.
    pub sha256: String,
}

/// Reads all of a backup, and sees that it is whole and that each table's rows are what the manifest says.
/// `progress` hears how many bytes were read.
pub fn verify<R: Read>(
    input: R,
    keys: Option<&AtRestKeys>,
    mut progress: impl FnMut(u64),
) -> Result<Verified, ReadError> {
    let mut reader = Reader::open(input, keys)?;
    let mut tables: Vec<RowStream> = Vec::new();
    let manifest = loop {
        match reader.piece()? {
            Piece::Rows { table, lines } => {
                let index = usize::try_from(table).unwrap_or(usize::MAX);
                if index > tables.len() + 100_000 {
                    return Err(reader.damaged("rows are of no table"));
                }
                if index >= tables.len() {
                    tables.resize_with(index + 1, RowStream::default);
                }
                if let Some(stream) = tables.get_mut(index) {
                    stream.push(&lines);
                }
            }
            Piece::Sealed => {}
            Piece::End(manifest) => break manifest,
        }
        progress(reader.bytes());
    };
    if let Some(manifest) = &manifest {
        if tables.len() > manifest.tables.len() {
            return Err(reader.damaged("rows are of no table"));
        }
        let mut tables = tables.into_iter();
        for kept in &manifest.tables {
            let stream = tables.next().unwrap_or_default();
            let digest = stream
                .finish()
                .map_err(|error| ReadError::Differs(format!("{}: {error}", kept.table.name)))?;
            if digest.rows() != kept.rows || digest.hash() != kept.hash {
                return Err(ReadError::Differs(format!(
                    "{}: it holds {} rows of digest {}, and its manifest says {} of {}",
                    kept.table.name,
                    digest.rows(),
                    digest.hash(),
                    kept.rows,
                    kept.hash
                )));
            }
        }
    }
    Ok(Verified {
        manifest,
        bytes: reader.bytes(),
        sha256: reader.sha256(),
        header: reader.header,
    })
}
