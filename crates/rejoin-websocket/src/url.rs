//! What a URL says about whom to call, and how. Resolves nothing.

use http::Uri;

use crate::error::WebSocketError;

/// A `ws` or `wss` URL.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// The URL as it was given.
    pub(crate) text: String,
    pub(crate) uri: Uri,
    pub(crate) tls: bool,
    /// The name or address, without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Target {
    pub(crate) fn parse(url: &str) -> Result<Self, WebSocketError> {
        let invalid =
            |reason| WebSocketError::InvalidUrl { url: url.escape_debug().collect(), reason };
        if url.contains('#') {
            return Err(invalid("it has a fragment"));
        }
        // A scheme in capitals is the same one, but tungstenite knows only the small letters.
        let small = url
            .split_once("://")
            .map(|(scheme, rest)| format!("{}://{rest}", scheme.to_ascii_lowercase()));
        let parsed = small.as_deref().unwrap_or(url).parse();
        let uri: Uri = parsed.map_err(|_| invalid("it is no URL"))?;
        let tls = match uri.scheme_str() {
            Some("ws") => false,
            Some("wss") => true,
            Some(_) => return Err(invalid("its scheme is neither ws nor wss")),
            None => return Err(invalid("it has no scheme")),
        };
        let authority = uri.authority().ok_or_else(|| invalid("it has no host"))?;
        if authority.as_str().contains('@') {
            // Whoever puts a secret there finds it in the error, and so did the text above.
            let url = format!("{}://…@{}", if tls { "wss" } else { "ws" }, authority.host());
            let reason = "it has credentials, which belong into a header";
            return Err(WebSocketError::InvalidUrl { url, reason });
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(invalid("it has no host"));
        }
        let port = match authority.as_str().strip_prefix(authority.host()) {
            None | Some("") => {
                if tls {
                    443
                } else {
                    80
                }
            }
            Some(_) => authority.port_u16().ok_or_else(|| invalid("its port is not a number"))?,
        };
        if port == 0 {
            return Err(invalid("port 0 cannot be dialled"));
        }
        Ok(Self { text: url.to_owned(), host: host.to_owned(), port, tls, uri })
    }

    /// The host and port, for people.
    pub(crate) fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(url: &str, expected: Option<(bool, &str, u16)>) {
        let target = Target::parse(url);
        let found = target.as_ref().ok().map(|t| (t.tls, t.host.as_str(), t.port));
        assert_eq!(found, expected, "{url}: {target:?}");
    }

    #[test]
    fn urls_are_checked_before_anything_is_asked() {
        check("ws://some-host.example", Some((false, "some-host.example", 80)));
        check("wss://some-host.example/path?query", Some((true, "some-host.example", 443)));
        check("ws://127.0.0.1:7000/", Some((false, "127.0.0.1", 7000)));
        check("ws://[::1]:7000/", Some((false, "::1", 7000)));
        check("WS://[::1]/", Some((false, "::1", 80)));
        for url in ["", "host", "host:80", "/path", "http://host/", "ws://", "ws:///x", "ws://:80/"]
        {
            check(url, None);
        }
        for url in
            ["ws://h:0/", "ws://h:65536/", "ws://h:x/", "ws://h/#part", "ws://a b/", "ws://h\n"]
        {
            check(url, None);
        }
    }

    #[test]
    fn credentials_are_refused_and_not_repeated() {
        let error = Target::parse("ws://user:secret@host/").unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
        assert!(error.to_string().contains("ws://…@host"), "{error}");
    }
}
