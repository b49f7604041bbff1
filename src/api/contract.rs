//! What a document comes to, of whichever kind it is: operations, and all that is wrong with it.

/// All that was found in one document.
#[derive(Debug, Clone, Default)]
pub struct Contract {
    pub operations: Vec<Operation>,
    /// What has to be mended before the document can be relied on.
    pub faults: Vec<Fault>,
    /// What was left out, in sentences.
    pub notes: Vec<String>,
}

/// Something that may be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Its `operationId`, which no other operation has.
    pub id: Option<String>,
    pub call: Call,
    pub needs: Needs,
    pub at: Option<Spot>,
    /// The way to it within the document.
    pub path: String,
}

/// How it is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    Http {
        method: &'static str,
        /// As the document writes it.
        path: String,
        /// Below every base path, parameters being whole segments: `/v1/users/{id}`.
        templates: Vec<String>,
    },
    Grpc {
        service: String,
        method: String,
    },
}

/// What it takes to call it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Needs {
    /// All scopes of any one of these lists, none of which is empty.
    AnyOf(Vec<Vec<Asked>>),
    /// Nothing that a caller could lack: wrong, unless it is declared to be public.
    Nothing(Fault),
    /// Of a service that came along with an import, and says nothing of scopes: not served, unless
    /// somebody names it.
    Imported,
    /// A fault says why.
    Unknown,
}

/// A scope as the document writes it: any text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub scope: String,
    pub at: Option<Spot>,
}

/// A place in the text of a document, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spot {
    pub line: u64,
    pub column: u64,
}

/// One thing that is wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub at: Option<Spot>,
    /// The way to it, such as `paths./users.get.security`; empty for the document as a whole.
    pub path: String,
    pub message: String,
    pub hint: String,
}

impl Fault {
    pub(super) fn new(
        at: Option<Spot>,
        path: impl Into<String>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self { at, path: path.into(), message: message.into(), hint: hint.into() }
    }

    /// Of the document as a whole: nothing else can be said of it then.
    pub(super) fn of_all(message: impl Into<String>, hint: impl Into<String>) -> Contract {
        let fault = Self::new(None, "", message, hint);
        Contract { faults: vec![fault], ..Contract::default() }
    }
}

/// Text of the document for a message: in backticks, bounded, without control characters.
pub(super) fn shown(text: &str) -> String {
    const MOST: usize = 80;
    let mut out = String::from("`");
    for (count, character) in text.chars().enumerate() {
        if count == MOST {
            out.push_str("...");
            break;
        }
        if character.is_control() || character == '`' {
            out.extend(character.escape_unicode());
        } else {
            out.push(character);
        }
    }
    out.push('`');
    out
}

/// `did you mean ...`, if one of the words is near.
pub(super) fn nearest<'w>(written: &str, words: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    const NEAR: f64 = 0.8;
    let near = words.map(|word| (strsim::jaro_winkler(written, word), word));
    let near = near.filter(|(likeness, _)| *likeness >= NEAR);
    near.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, word)| word)
}
