//! The array: catalogue, masking, sets and their leases, management API.
