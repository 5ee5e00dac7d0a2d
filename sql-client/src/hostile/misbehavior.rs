//! The ways to violate the protocol, as scripts of one conversation.

/// What a server does to one client.
#[derive(Clone, Debug)]
pub(super) enum MisbehaviorStep {
    /// Sends a packet with the next number.
    Packet(Vec<u8>),
    /// Sends these bytes as they are.
    Bytes(Vec<u8>),
    /// Sends a packet one byte at a time.
    Trickle(Vec<u8>),
    /// Sends packets with this payload until the client is gone.
    Endlessly(Vec<u8>),
    /// Waits for one packet of the client.
    Receive,
    /// Sends and closes nothing until the client is gone.
    Silence,
}

use MisbehaviorStep::{Bytes, Endlessly, Packet, Receive, Silence, Trickle};

/// One way to violate the protocol, or to stretch it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "the names describe them, and Misbehavior::script shows each"
)]
pub enum Misbehavior {
    NeverAnswers,
    EmptyGreeting,
    TruncatedGreeting,
    AnotherProtocol,
    OversizedPacket,
    AnnouncedPacketThatNeverComes,
    WrongSequence,
    EmptyAnswerToSignIn,
    EmptyChallenge,
    ShortChallenge,
    LongChallenge,
    UnknownPlugin,
    SwitchLoop,
    EndlessSignIn,
    FullAuthentication,
    FullAuthenticationWithBadKey,
    Sha256Password,
    ClearPassword,
    OldPassword,
    Dialog,
    ExpensiveParsec,
    TruncatedParsecSalt,
    SilentAfterSignIn,
    Columns45,
    Columns63,
    NoColumns,
    EmptyAnswer,
    LocalFile,
    EndlessColumns,
    EndlessRows,
    EndlessEmptyRows,
    EndlessResults,
    MissingValues,
    ValueBeyondPacket,
    UnsolicitedError,
    ClosesAfterColumns,
    /// Answers correctly, one byte at a time.
    ByteByByte,
    /// Answers with values that are not UTF-8.
    InvalidUtf8,
    /// Answers correctly, with the largest number of warnings.
    Warnings,
}

impl Misbehavior {
    /// Every misbehavior.
    pub const ALL: &[Self] = &[
        Self::NeverAnswers,
        Self::EmptyGreeting,
        Self::TruncatedGreeting,
        Self::AnotherProtocol,
        Self::OversizedPacket,
        Self::AnnouncedPacketThatNeverComes,
        Self::WrongSequence,
        Self::EmptyAnswerToSignIn,
        Self::EmptyChallenge,
        Self::ShortChallenge,
        Self::LongChallenge,
        Self::UnknownPlugin,
        Self::SwitchLoop,
        Self::EndlessSignIn,
        Self::FullAuthentication,
        Self::FullAuthenticationWithBadKey,
        Self::Sha256Password,
        Self::ClearPassword,
        Self::OldPassword,
        Self::Dialog,
        Self::ExpensiveParsec,
        Self::TruncatedParsecSalt,
        Self::SilentAfterSignIn,
        Self::Columns45,
        Self::Columns63,
        Self::NoColumns,
        Self::EmptyAnswer,
        Self::LocalFile,
        Self::EndlessColumns,
        Self::EndlessRows,
        Self::EndlessEmptyRows,
        Self::EndlessResults,
        Self::MissingValues,
        Self::ValueBeyondPacket,
        Self::UnsolicitedError,
        Self::ClosesAfterColumns,
        Self::ByteByByte,
        Self::InvalidUtf8,
        Self::Warnings,
    ];

    pub(super) fn script(self) -> Vec<MisbehaviorStep> {
        let greeted =
            |rest: Vec<MisbehaviorStep>| [vec![Packet(greeting()), Receive], rest].concat();
        let signed_in =
            |rest: Vec<MisbehaviorStep>| greeted([vec![Packet(ok(0)), Receive], rest].concat());
        let switch = |plugin: &str, challenge: &[u8]| {
            Packet([&[0xfe][..], plugin.as_bytes(), &[0], challenge].concat())
        };
        let columns = || [Packet(vec![2]), column(), column(), Packet(end(0))];
        match self {
            Self::NeverAnswers => vec![Silence],
            Self::EmptyGreeting => vec![Packet(Vec::new()), Silence],
            Self::TruncatedGreeting => {
                let mut short = greeting();
                short.truncate(30);
                vec![Packet(short), Silence]
            }
            Self::AnotherProtocol => {
                vec![
                    Bytes(b"\x16\x00\x00\x00SSH-2.0-OpenSSH_9.2 hello".into()),
                    Silence,
                ]
            }
            Self::OversizedPacket => {
                vec![Bytes(vec![0xff, 0xff, 0xff, 0]), Endlessly(vec![0; 1_000])]
            }
            Self::AnnouncedPacketThatNeverComes => vec![Bytes(vec![0, 0x80, 0, 0]), Silence],
            Self::WrongSequence => vec![Bytes([&[78, 0, 0, 7], &greeting()[..]].concat()), Silence],
            Self::EmptyAnswerToSignIn => greeted(vec![Packet(Vec::new()), Silence]),
            Self::EmptyChallenge => greeted(vec![switch("mysql_native_password", &[]), Silence]),
            Self::ShortChallenge => greeted(vec![switch("client_ed25519", &[7; 8]), Silence]),
            Self::LongChallenge => {
                greeted(vec![switch("caching_sha2_password", &[7; 64]), Silence])
            }
            Self::UnknownPlugin => greeted(vec![switch("from_outer_space", &[7; 20]), Silence]),
            Self::SwitchLoop => greeted(vec![
                switch("mysql_native_password", &[7; 20]),
                Receive,
                switch("mysql_native_password", &[7; 20]),
                Silence,
            ]),
            Self::EndlessSignIn => greeted(vec![
                switch("caching_sha2_password", &[7; 20]),
                Receive,
                Endlessly(vec![1, 3]),
            ]),
            Self::FullAuthentication => greeted(vec![
                switch("caching_sha2_password", &[7; 20]),
                Receive,
                Packet(vec![1, 4]),
                Receive,
                Packet([&[1][..], RSA_KEY.as_bytes()].concat()),
                Receive,
                Silence,
            ]),
            Self::FullAuthenticationWithBadKey => greeted(vec![
                switch("caching_sha2_password", &[7; 20]),
                Receive,
                Packet(vec![1, 4]),
                Receive,
                Packet(b"\x01-----BEGIN PUBLIC KEY-----\nnot base64".into()),
                Receive,
                Silence,
            ]),
            Self::Sha256Password => {
                greeted(vec![switch("sha256_password", &[7; 20]), Receive, Silence])
            }
            Self::ClearPassword => {
                greeted(vec![switch("mysql_clear_password", &[]), Receive, Silence])
            }
            Self::OldPassword => greeted(vec![Packet(vec![0xfe]), Receive, Silence]),
            Self::Dialog => greeted(vec![switch("dialog", b"\x04Password: "), Receive, Silence]),
            Self::ExpensiveParsec => greeted(vec![
                switch("parsec", &[7; 32]),
                Receive,
                Packet([&[b'P', 20][..], &[7; 18]].concat()),
                Silence,
            ]),
            Self::TruncatedParsecSalt => greeted(vec![
                switch("parsec", &[7; 32]),
                Receive,
                Packet(vec![b'P', 0, 7, 7, 7]),
                Silence,
            ]),
            Self::SilentAfterSignIn => signed_in(vec![Silence]),
            Self::Columns45 => signed_in(vec![Packet(count(1 << 45)), Silence]),
            Self::Columns63 => signed_in(vec![Packet(count(1 << 63)), Silence]),
            Self::NoColumns => signed_in(vec![Packet(vec![0xfc, 0, 0]), Silence]),
            Self::EmptyAnswer => signed_in(vec![Packet(Vec::new()), Silence]),
            Self::LocalFile => signed_in(vec![Packet(b"\xfb/etc/passwd".into()), Receive, Silence]),
            Self::EndlessColumns => signed_in(vec![Packet(vec![2]), Endlessly(vec![3; 100])]),
            Self::EndlessRows => {
                let row = [&[4][..], b"name", &[0xfc, 0, 4], &[b'x'; 1_024]].concat();
                signed_in([&columns()[..], &[Endlessly(row)]].concat())
            }
            Self::EndlessEmptyRows => {
                signed_in([&columns()[..], &[Endlessly(vec![0, 0])]].concat())
            }
            Self::EndlessResults => signed_in(vec![Packet(ok(8)), Endlessly(ok(8))]),
            Self::MissingValues => {
                signed_in([&columns()[..], &[Packet(vec![1, b'x']), Silence]].concat())
            }
            Self::ValueBeyondPacket => {
                let row = [&[1, b'x', 0xfe][..], &u64::MAX.to_le_bytes()].concat();
                signed_in([&columns()[..], &[Packet(row), Silence]].concat())
            }
            Self::UnsolicitedError => signed_in(vec![
                Bytes(b"\x0d\x00\x00\x00\xff\xbf\x0f#HY000idle".into()),
                Silence,
            ]),
            Self::ClosesAfterColumns => signed_in(columns().to_vec()),
            Self::ByteByByte => [
                vec![Trickle(greeting()), Receive, Trickle(ok(0)), Receive],
                vec![
                    Trickle(vec![2]),
                    Trickle(definition()),
                    Trickle(definition()),
                    Trickle(end(0)),
                    Trickle(b"\x04name\x05value".into()),
                    Trickle(end(0)),
                    Silence,
                ],
            ]
            .concat(),
            Self::InvalidUtf8 => {
                let row = Packet(b"\x04n\xffme\x03v\xc3(".into());
                signed_in([&columns()[..], &[row, Packet(end(0)), Silence]].concat())
            }
            Self::Warnings => {
                let last = Packet(vec![0xfe, 0xff, 0xff, 0, 0]);
                let row = Packet(b"\x04name\x05value".into());
                signed_in([&columns()[..], &[row, last, Silence]].concat())
            }
        }
    }

    /// Whether a client gets a complete result, however it came.
    #[must_use]
    pub const fn answers(self) -> bool {
        matches!(self, Self::ByteByByte | Self::InvalidUtf8 | Self::Warnings)
    }

    /// Whether a client waits until its deadline.
    #[must_use]
    pub const fn waits(self) -> bool {
        matches!(
            self,
            Self::NeverAnswers | Self::AnnouncedPacketThatNeverComes | Self::SilentAfterSignIn
        )
    }
}

/// A valid key, which a client must not use.
const RSA_KEY: &str = "-----BEGIN PUBLIC KEY-----
MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAMh5Z0YUUNjFyFBP3os3rGTvkm7W2U5v
evFzSZMlK5CgSphX+2ptpEULxL37zpNyZGcJQaps18V1fNTpjSbq5WUCAwEAAQ==
-----END PUBLIC KEY-----
";

/// A MariaDB server's greeting, which does not offer TLS.
pub(super) fn greeting() -> Vec<u8> {
    [
        b"\x0a5.5.5-10.11.19-MariaDB\0",
        // Number of the connection, first part of the challenge.
        &[7, 0, 0, 0][..],
        b"challeng\0",
        // Capabilities around character set and status, then the challenge's length.
        &[0x0f, 0xa2, 45, 2, 0, 0x08, 0x00, 21],
        &[0; 10],
        b"e-of-20-byte\0mysql_native_password\0",
    ]
    .concat()
}

pub(super) fn ok(status: u8) -> Vec<u8> {
    vec![0, 0, 0, status, 0, 0, 0]
}

pub(super) fn end(status: u8) -> Vec<u8> {
    vec![0xfe, 0, 0, status, 0]
}

pub(super) fn definition() -> Vec<u8> {
    b"\x03def\0\0\0\x04name\0\x0c\x2d\0\0\x01\0\0\xfd\0\0\0\0\0".into()
}

fn column() -> MisbehaviorStep {
    Packet(definition())
}

fn count(number: u64) -> Vec<u8> {
    [&[0xfe][..], &number.to_le_bytes()].concat()
}
