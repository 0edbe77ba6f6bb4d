use crate::util::open_enum::open_enum;

open_enum! {
    /// Status of an account.
    ConnectedAccountStatus {
        /// Tools can use it.
        Active = "ACTIVE",
        /// The user has revoked it.
        Disconnected = "DISCONNECTED",
        /// Its tokens have expired: the user has to authorize your app again.
        Expired = "EXPIRED",
        /// The user has not authorized your app yet.
        PendingAuth = "PENDING_AUTH",
        /// The user has not been verified yet.
        PendingVerification = "PENDING_VERIFICATION",
    }
}
