"""REST: what devices, browsers and operators reach without GraphQL."""
