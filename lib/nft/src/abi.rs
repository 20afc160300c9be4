//! The numbers of nf_tables' netlink interface, from include/uapi/linux/netfilter/nf_tables.h and
//! nfnetlink.h. Only those that are used.

/// `NFNL_SUBSYS_NFTABLES`.
pub(crate) const SUBSYSTEM: u8 = 10;
/// `NFNL_MSG_BATCH_BEGIN`.
pub(crate) const BATCH_BEGIN: u16 = 0x10;
/// `NFNL_MSG_BATCH_END`.
pub(crate) const BATCH_END: u16 = 0x11;

/// `NFT_MSG_*`, with the subsystem in the upper byte.
pub(crate) mod msg {
    const fn of(number: u16) -> u16 {
        (super::SUBSYSTEM as u16) << 8 | number
    }
    pub(crate) const NEWTABLE: u16 = of(0);
    pub(crate) const GETTABLE: u16 = of(1);
    pub(crate) const DELTABLE: u16 = of(2);
    pub(crate) const NEWCHAIN: u16 = of(3);
    pub(crate) const GETCHAIN: u16 = of(4);
    pub(crate) const DELCHAIN: u16 = of(5);
    pub(crate) const NEWRULE: u16 = of(6);
    pub(crate) const GETRULE: u16 = of(7);
    pub(crate) const DELRULE: u16 = of(8);
    pub(crate) const NEWSET: u16 = of(9);
    pub(crate) const GETSET: u16 = of(10);
    pub(crate) const DELSET: u16 = of(11);
    pub(crate) const NEWSETELEM: u16 = of(12);
    pub(crate) const GETSETELEM: u16 = of(13);
    pub(crate) const DELSETELEM: u16 = of(14);
    pub(crate) const NEWGEN: u16 = of(15);
    /// Linux 6.3.
    pub(crate) const DESTROYSETELEM: u16 = of(30);
}

/// `NFNLGRP_NFTABLES`.
pub(crate) const GROUP: u32 = 7;

/// `NFTA_GEN_*`.
pub(crate) mod generation {
    pub(crate) const PROCESS: u16 = 2;
    pub(crate) const NAME: u16 = 3;
}

/// `NFTA_LIST_ELEM`.
pub(crate) const LIST_ELEM: u16 = 1;

/// `NFTA_TABLE_*`.
pub(crate) mod table {
    pub(crate) const NAME: u16 = 1;
    pub(crate) const FLAGS: u16 = 2;
    /// `NFT_TABLE_F_OWNER`.
    pub(crate) const OWNER: u32 = 2;
}

/// `NFTA_CHAIN_*` and `NFTA_HOOK_*`.
pub(crate) mod chain {
    pub(crate) const TABLE: u16 = 1;
    pub(crate) const NAME: u16 = 3;
    pub(crate) const HOOK: u16 = 4;
    pub(crate) const POLICY: u16 = 5;
    pub(crate) const TYPE: u16 = 7;
    pub(crate) const HOOK_NUMBER: u16 = 1;
    pub(crate) const HOOK_PRIORITY: u16 = 2;
}

/// `NFTA_RULE_*`.
pub(crate) mod rule {
    pub(crate) const TABLE: u16 = 1;
    pub(crate) const CHAIN: u16 = 2;
    pub(crate) const HANDLE: u16 = 3;
    pub(crate) const EXPRESSIONS: u16 = 4;
    pub(crate) const USERDATA: u16 = 7;
}

/// `NFTA_SET_*`.
pub(crate) mod set {
    pub(crate) const TABLE: u16 = 1;
    pub(crate) const NAME: u16 = 2;
    pub(crate) const FLAGS: u16 = 3;
    pub(crate) const KEY_TYPE: u16 = 4;
    pub(crate) const KEY_LEN: u16 = 5;
    pub(crate) const DATA_TYPE: u16 = 6;
    pub(crate) const DATA_LEN: u16 = 7;
    pub(crate) const ID: u16 = 10;
    pub(crate) const USERDATA: u16 = 13;
    /// `NFT_SET_MAP`.
    pub(crate) const MAP: u32 = 0x8;
    /// `NFT_DATA_VERDICT`.
    pub(crate) const VERDICT: u32 = 0xffff_ff00;
}

/// `NFTA_SET_ELEM_*` and `NFTA_SET_ELEM_LIST_*`.
pub(crate) mod element {
    pub(crate) const LIST_TABLE: u16 = 1;
    pub(crate) const LIST_SET: u16 = 2;
    pub(crate) const LIST_ELEMENTS: u16 = 3;
    pub(crate) const KEY: u16 = 1;
    pub(crate) const DATA: u16 = 2;
    pub(crate) const USERDATA: u16 = 6;
}

/// `NFTA_DATA_*` and `NFTA_VERDICT_*`.
pub(crate) mod data {
    pub(crate) const VALUE: u16 = 1;
    pub(crate) const VERDICT: u16 = 2;
    pub(crate) const VERDICT_CODE: u16 = 1;
    pub(crate) const VERDICT_CHAIN: u16 = 2;
}

/// `NFTA_EXPR_*`.
pub(crate) mod expr {
    pub(crate) const NAME: u16 = 1;
    pub(crate) const DATA: u16 = 2;
}

/// `NF_DROP`, `NF_ACCEPT`, and the negative `NFT_*` verdicts.
pub(crate) mod verdict {
    pub(crate) const DROP: i32 = 0;
    pub(crate) const ACCEPT: i32 = 1;
    pub(crate) const CONTINUE: i32 = -1;
    pub(crate) const JUMP: i32 = -3;
    pub(crate) const GOTO: i32 = -4;
    pub(crate) const RETURN: i32 = -5;
}
