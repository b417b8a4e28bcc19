//! This host's side: attachments, volumes, mounts, identity, namespaces.
