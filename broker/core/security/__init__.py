"""Who may do what: access rules, credentials, and what each request needs."""
