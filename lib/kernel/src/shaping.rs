//! Traffic control: token buckets on what a link sends, and arrivals led through another link, so
//! that they too can wait in a bucket. Nothing else of tc.

use crate::change::{fill, ifinfo};
use crate::error::Result;
use crate::link::ifla;
use crate::wire::{Batch, Received, attributes, find, flags, str_of, u32_of};
use crate::{Rtnl, Socket};

const RTM_NEWLINK: u16 = 16;
const RTM_NEWQDISC: u16 = 36;
const RTM_DELQDISC: u16 = 37;
const RTM_GETQDISC: u16 = 38;
const RTM_NEWTFILTER: u16 = 44;

const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
/// `TC_H_ROOT`, `TC_H_INGRESS`.
const ROOT: u32 = 0xffff_ffff;
const INGRESS: u32 = 0xffff_fff1;
/// Handles as tc writes them: `1:`, `1:1`, `ffff:`.
const BUCKET: u32 = 0x0001_0000;
const BUCKET_CLASS: u32 = 0x0001_0001;
const INGRESS_HANDLE: u32 = 0xffff_0000;

/// A change of how a link's traffic is shaped.
#[derive(Debug)]
pub enum Shaping<'a> {
    /// An intermediate device, up: what is led to it leaves through its queue.
    Ifb {
        /// Its name.
        name: &'a str,
        /// Its MTU in bytes.
        mtu: u32,
    },
    /// A bucket for what a link sends, in the place of what is there.
    TokenBucket {
        /// The link's index.
        link: u32,
        /// Its size and speed.
        bucket: TokenBucket,
    },
    /// Flows take turns in a link's bucket (`CONFIG_NET_SCH_FQ_CODEL`).
    FairQueue {
        /// The link's index.
        link: u32,
    },
    /// What arrives on a link goes through another one first.
    LeadArrivals {
        /// The link's index.
        from: u32,
        /// The index of the intermediate device.
        to: u32,
    },
    /// A link sends without a bucket again.
    NoBucket {
        /// The link's index.
        link: u32,
    },
    /// What arrives on a link stays there.
    KeepArrivals {
        /// The link's index.
        link: u32,
    },
}

/// A token bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenBucket {
    /// Bytes per second.
    pub rate: u64,
    /// Bytes that may go at once; packets that are larger are dropped.
    pub burst: u32,
    /// Bytes that may wait.
    pub limit: u32,
}

/// What shapes a link's traffic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Qdisc {
    /// The link's index.
    pub link: u32,
    /// `tbf`, `ingress`, `fq_codel`, …
    pub kind: String,
    /// Bytes per second, of a token bucket.
    pub rate: Option<u64>,
}

impl Shaping<'_> {
    /// The verb and the object, for an error.
    pub(crate) fn describe(&self) -> (&'static str, String) {
        match self {
            Self::Ifb { name, .. } => ("create ifb", (*name).to_owned()),
            Self::TokenBucket { link, .. } => ("add token bucket", format!("on link {link}")),
            Self::FairQueue { link } => ("add fair queue", format!("on link {link}")),
            Self::LeadArrivals { from, to } => {
                ("redirect arrivals", format!("of link {from} to link {to}"))
            }
            Self::NoBucket { link } => ("delete token bucket", format!("on link {link}")),
            Self::KeepArrivals { link } => ("stop redirection", format!("of link {link}")),
        }
    }

    /// Appends the messages. How many.
    pub(crate) fn encode(&self, batch: &mut Batch) -> usize {
        const CREATE: u16 = flags::CREATE | flags::EXCL;
        match self {
            Self::Ifb { name, mtu } => {
                let mut m = batch.message(RTM_NEWLINK, CREATE, &ifinfo(0, Some(true)));
                m.str(ifla::IFNAME, name).u32(ifla::MTU, *mtu);
                m.nest(ifla::LINKINFO, |info| {
                    info.str(ifla::INFO_KIND, "ifb");
                });
            }
            Self::TokenBucket { link, bucket } => {
                let header = tcmsg(*link, BUCKET, ROOT, 0);
                encode_bucket(batch, flags::CREATE | flags::REPLACE, &header, bucket);
            }
            Self::FairQueue { link } => {
                let header = tcmsg(*link, 0, BUCKET_CLASS, 0);
                batch.message(RTM_NEWQDISC, CREATE, &header).str(TCA_KIND, "fq_codel");
            }
            Self::LeadArrivals { from, to } => {
                let header = tcmsg(*from, INGRESS_HANDLE, INGRESS, 0);
                batch.message(RTM_NEWQDISC, CREATE, &header).str(TCA_KIND, "ingress");
                encode_redirection(batch, *from, *to);
                return 2;
            }
            Self::NoBucket { link } => {
                drop(batch.message(RTM_DELQDISC, 0, &tcmsg(*link, 0, ROOT, 0)));
            }
            Self::KeepArrivals { link } => {
                drop(batch.message(RTM_DELQDISC, 0, &tcmsg(*link, 0, INGRESS, 0)));
            }
        }
        1
    }
}

/// `struct tcmsg`.
fn tcmsg(link: u32, handle: u32, parent: u32, info: u32) -> [u8; 20] {
    let mut header = [0; 20];
    for (at, value) in [(4, link), (8, handle), (12, parent), (16, info)] {
        fill(&mut header, at, &value.to_ne_bytes());
    }
    header
}

/// `struct tc_tbf_qopt`: rate and peak rate (`struct tc_ratespec`, 12 bytes each), limit, buffer,
/// mtu. The buffer is given in bytes by an attribute of its own instead of in ticks.
fn encode_bucket(batch: &mut Batch, flag: u16, header: &[u8], bucket: &TokenBucket) {
    const PARMS: u16 = 1;
    const RATE64: u16 = 4;
    const BURST: u16 = 6;
    const ETHERNET: u8 = 1;
    let mut options = [0; 36];
    fill(&mut options, 1, &[ETHERNET]);
    let rate = u32::try_from(bucket.rate).unwrap_or(u32::MAX);
    fill(&mut options, 8, &rate.to_ne_bytes());
    fill(&mut options, 24, &bucket.limit.to_ne_bytes());
    let mut m = batch.message(RTM_NEWQDISC, flag, header);
    m.str(TCA_KIND, "tbf").nest(TCA_OPTIONS, |tbf| {
        tbf.bytes(PARMS, &options).u32(BURST, bucket.burst);
        if bucket.rate > u64::from(u32::MAX) {
            tbf.bytes(RATE64, &bucket.rate.to_ne_bytes());
        }
    });
}

/// A filter that takes everything (`u32` with a key that any packet has: `matchall` is missing
/// from some kernels), and the action that hands it to another link.
fn encode_redirection(batch: &mut Batch, from: u32, to: u32) {
    const ETH_P_ALL: u16 = 3;
    const U32_SEL: u16 = 5;
    const U32_ACT: u16 = 7;
    const TERMINAL: u8 = 1;
    const FIRST: u16 = 1;
    const ACT_KIND: u16 = 1;
    const ACT_OPTIONS: u16 = 2;
    const MIRRED_PARMS: u16 = 2;
    const TC_ACT_STOLEN: u32 = 4;
    const EGRESS_REDIR: u32 = 1;
    let info = (1 << 16) | u32::from(ETH_P_ALL.to_be());
    // `struct tc_u32_sel` with one `struct tc_u32_key` of zeros.
    let mut selector = [0; 32];
    fill(&mut selector, 0, &[TERMINAL, 0, 1]);
    // `struct tc_mirred`: index, capab, action, refcnt, bindcnt, eaction, ifindex.
    let mut mirred = [0; 28];
    for (at, value) in [(8, TC_ACT_STOLEN), (20, EGRESS_REDIR), (24, to)] {
        fill(&mut mirred, at, &value.to_ne_bytes());
    }
    let header = tcmsg(from, 0, INGRESS_HANDLE, info);
    let mut m = batch.message(RTM_NEWTFILTER, flags::CREATE | flags::EXCL, &header);
    m.str(TCA_KIND, "u32").nest(TCA_OPTIONS, |options| {
        options.bytes(U32_SEL, &selector).nest(U32_ACT, |actions| {
            actions.nest(FIRST, |action| {
                action.str(ACT_KIND, "mirred").nest(ACT_OPTIONS, |parms| {
                    parms.bytes(MIRRED_PARMS, &mirred);
                });
            });
        });
    });
}

impl Rtnl {
    /// What shapes a link's traffic.
    pub fn qdiscs(&mut self, link: u32) -> Result<Vec<Qdisc>> {
        let mut batch = Batch::new();
        drop(batch.message(RTM_GETQDISC, flags::DUMP, &tcmsg(link, 0, 0, 0)));
        let socket: &mut Socket = self.socket_mut();
        let mut found = socket.dump("list qdiscs", &mut batch, parse)?;
        found.retain(|qdisc| qdisc.link == link);
        Ok(found)
    }
}

fn parse(message: Received<'_>) -> Option<Qdisc> {
    if message.kind != RTM_NEWQDISC {
        return None;
    }
    let link = message.payload.get(4..8).and_then(u32_of)?;
    let mut qdisc = Qdisc { link, kind: String::new(), rate: None };
    let mut options: &[u8] = &[];
    for (kind, value) in attributes(message.payload.get(20..)?) {
        match kind {
            TCA_KIND => qdisc.kind = str_of(value),
            TCA_OPTIONS => options = value,
            _ => {}
        }
    }
    if qdisc.kind == "tbf" {
        let wide = find(options, 4).and_then(|v| v.try_into().ok()).map(u64::from_ne_bytes);
        let narrow = find(options, 1).and_then(|v| v.get(8..12)).and_then(u32_of);
        qdisc.rate = wide.or(narrow.map(u64::from));
    }
    Some(qdisc)
}
