//! What a front can ask for: plans, attachments, ports and names.
