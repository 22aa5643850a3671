"""The active controller: decides on registrations, topics, leaders and ISRs, through the metadata log."""
