//! Where a request comes from, and which addresses are let in: IPv4 and IPv6, in CIDR notation (RFC 4632,
//! RFC 4291 §2.3).

use std::net::IpAddr;

use ipnet::IpNet;

/// Ranges of addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddressRanges(Vec<IpNet>);

/// A text that is no range of addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no range of addresses (for example \"203.0.113.7\", \"203.0.113.0/24\", \"2001:db8::/32\")"
)]
pub struct InvalidRange(String);

impl AddressRanges {
    /// Reads ranges: an address with the length of its prefix, or an address alone.
    pub fn parse(ranges: &[String]) -> Result<Self, InvalidRange> {
        let parse = |range: &String| {
            let range_of_one = || range.parse::<IpAddr>().ok().map(IpNet::from);
            range
                .parse::<IpNet>()
                .ok()
                .or_else(range_of_one)
                .map(canonical)
                .ok_or_else(|| InvalidRange(range.clone()))
        };
        Ok(Self(ranges.iter().map(parse).collect::<Result<_, _>>()?))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an address is in one of them.
    #[must_use]
    pub fn contain(&self, address: IpAddr) -> bool {
        // An IPv4 address may be written as one of IPv6 (RFC 4291 §2.5.5.2).
        let address = address.to_canonical();
        self.0.iter().any(|range| range.contains(&address))
    }
}

/// A range of IPv4 addresses that is written as one of IPv6, as what it is.
fn canonical(range: IpNet) -> IpNet {
    let of_v4 = range.prefix_len().checked_sub(96).and_then(|length| {
        let address = range.addr().to_canonical();
        let is_mapped = address.is_ipv4() && range.addr().is_ipv6();
        is_mapped.then(|| IpNet::new(address, length).ok())?
    });
    of_v4.unwrap_or(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(texts: &[&str]) -> Result<AddressRanges, InvalidRange> {
        AddressRanges::parse(&texts.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    fn contain(texts: &[&str], address: &str) -> bool {
        ranges(texts).unwrap().contain(address.parse().unwrap())
    }

    #[test]
    fn an_address_is_in_a_range_or_not_whichever_way_it_is_written() {
        let v4 = ["198.51.100.7", "203.0.113.0/24"];
        assert!(contain(&v4, "198.51.100.7"));
        assert!(!contain(&v4, "198.51.100.8"));
        assert!(contain(&v4, "203.0.113.0") && contain(&v4, "203.0.113.255"));
        assert!(!contain(&v4, "203.0.114.0"));
        assert!(contain(&v4, "::ffff:203.0.113.9"));
        assert!(!contain(&v4, "2001:db8::1"));
        let v6 = ["2001:db8::/32", "::1"];
        assert!(contain(&v6, "2001:db8:ffff::1") && contain(&v6, "::1"));
        assert!(!contain(&v6, "2001:db9::") && !contain(&v6, "127.0.0.1"));
        assert!(contain(&["::ffff:203.0.113.0/120"], "203.0.113.9"));
        assert!(!contain(&["::ffff:203.0.113.0/120"], "203.0.114.9"));
        assert!(contain(&["0.0.0.0/0"], "192.0.2.1") && !contain(&["0.0.0.0/0"], "::1"));
        assert!(!contain(&[], "192.0.2.1"));
    }

    #[test]
    fn what_is_no_range_is_named() {
        for text in [
            "",
            " 192.0.2.1",
            "192.0.2.1 ",
            "192.0.2",
            "192.0.2.256",
            "192.0.2.0/33",
            "192.0.2.0/-1",
            "192.0.2.0/",
            "2001:db8::/129",
            "example.com",
            "010.0.0.1",
            "192.0.2.0/24/24",
        ] {
            let error = ranges(&["192.0.2.0/24", text]).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("{text:?} is no range")),
                "{error}"
            );
        }
    }
}
