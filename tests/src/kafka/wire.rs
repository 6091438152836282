//! As much of Kafka's protocol as the platform itself speaks: logging in, and asking something. The
//! requests are of the oldest versions that Kafka 4 takes, whose form is the simplest.

use anyhow::{Context as _, Result, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// No answer to what we ask is anywhere near as long.
const MAX_ANSWER_BYTES: u32 = 1 << 20;

/// A connection to a broker, logged in.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    asked: i32,
}

impl Connection {
    /// Connects and logs in with SASL/PLAIN.
    pub(super) async fn open(port: u16, user: &str, password: &str) -> Result<Self> {
        const SASL_HANDSHAKE: (i16, i16) = (17, 1);
        const SASL_AUTHENTICATE: (i16, i16) = (36, 0);
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let mut connection = Self { stream, asked: 0 };
        let mut body = Writer::default();
        body.string("PLAIN")?;
        let answer = connection.ask(SASL_HANDSHAKE, body).await?;
        let code = Reader::new(&answer).i16()?;
        ensure!(code == 0, "Kafka refused SASL/PLAIN: {code}");
        let mut body = Writer::default();
        body.bytes(format!("\0{user}\0{password}").as_bytes())?;
        let answer = connection.ask(SASL_AUTHENTICATE, body).await?;
        let mut answer = Reader::new(&answer);
        let (code, message) = (answer.i16()?, answer.nullable_string()?);
        ensure!(code == 0, "Kafka refused {user}: {code} {message:?}");
        Ok(connection)
    }

    /// Sends a request, named by its key and version, and gives the body of the answer.
    pub(super) async fn ask(
        &mut self,
        (key, version): (i16, i16),
        body: Writer,
    ) -> Result<Vec<u8>> {
        self.asked += 1;
        let mut request = Writer::default();
        request.i16(key);
        request.i16(version);
        request.i32(self.asked);
        request.string("platform")?;
        request.0.extend(body.0);
        let length = u32::try_from(request.0.len())?;
        self.stream.write_u32(length).await?;
        self.stream.write_all(&request.0).await?;
        let length = self.stream.read_u32().await?;
        ensure!(
            (4..=MAX_ANSWER_BYTES).contains(&length),
            "Kafka answered {length} bytes"
        );
        let asked = self.stream.read_i32().await?;
        ensure!(asked == self.asked, "Kafka answered another request");
        let mut answer = vec![0; usize::try_from(length - 4)?];
        self.stream.read_exact(&mut answer).await?;
        Ok(answer)
    }
}

/// The body of a request.
#[derive(Debug, Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn i8(&mut self, value: i8) {
        self.0.extend(value.to_be_bytes());
    }

    fn i16(&mut self, value: i16) {
        self.0.extend(value.to_be_bytes());
    }

    fn i32(&mut self, value: i32) {
        self.0.extend(value.to_be_bytes());
    }

    /// Of an array, whose elements follow.
    pub(super) fn length(&mut self, length: usize) -> Result<()> {
        self.i32(i32::try_from(length)?);
        Ok(())
    }

    pub(super) fn string(&mut self, text: &str) -> Result<()> {
        self.i16(i16::try_from(text.len())?);
        self.0.extend(text.as_bytes());
        Ok(())
    }

    /// In the place of a string.
    pub(super) fn null(&mut self) {
        self.i16(-1);
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.length(bytes.len())?;
        self.0.extend(bytes);
        Ok(())
    }
}

/// The body of an answer, from where it is not yet read.
#[derive(Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(answer: &'a [u8]) -> Self {
        Self(answer)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let parts = self.0.split_at_checked(length);
        let (taken, rest) = parts.context("Kafka's answer is too short")?;
        self.0 = rest;
        Ok(taken)
    }

    fn take_array<const LENGTH: usize>(&mut self) -> Result<[u8; LENGTH]> {
        Ok(self.take(LENGTH)?.try_into()?)
    }

    pub(super) fn i8(&mut self) -> Result<i8> {
        self.take_array().map(i8::from_be_bytes)
    }

    pub(super) fn i16(&mut self) -> Result<i16> {
        self.take_array().map(i16::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Result<i32> {
        self.take_array().map(i32::from_be_bytes)
    }

    /// Of an array, whose elements follow.
    pub(super) fn length(&mut self) -> Result<usize> {
        Ok(usize::try_from(self.i32()?)?)
    }

    pub(super) fn nullable_string(&mut self) -> Result<Option<&'a str>> {
        match self.i16()? {
            -1 => Ok(None),
            length @ 0.. => Ok(Some(std::str::from_utf8(
                self.take(usize::try_from(length)?)?,
            )?)),
            length => bail!("Kafka answered a text of {length} bytes"),
        }
    }
}
