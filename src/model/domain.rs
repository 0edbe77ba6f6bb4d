use crate::util::open_enum::open_enum;

open_enum! {
    /// What a domain is used for.
    DomainType {
        /// Users with an address in it may join.
        AllowedEmailDomain = "ALLOWED_EMAIL_DOMAIN",
        /// Users with an address in it log in through the organization's identity provider.
        OrganizationDomain = "ORGANIZATION_DOMAIN",
    }
}

open_enum! {
    /// How a domain is verified.
    DomainVerificationMethod {
        /// By an administrator.
        Admin = "ADMIN",
        /// By a TXT record.
        Dns = "DNS",
        /// Not required.
        NotApplicable = "NOT_APPLICABLE",
    }
}

open_enum! {
    /// Verification status of a domain.
    DomainVerificationStatus {
        /// Verified automatically.
        AutoVerified = "AUTO_VERIFIED",
        /// Verification failed.
        Failed = "FAILED",
        /// Pending.
        Pending = "PENDING",
        /// Verified.
        Verified = "VERIFIED",
    }
}
