//! nf_tables: tables, chains, rules, sets, maps and one transaction
