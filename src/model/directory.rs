use crate::util::open_enum::open_enum;

open_enum! {
    /// How a directory is synchronized.
    DirectoryType {
        /// By LDAP.
        Ldap = "LDAP",
        /// Scalekit polls the provider.
        Poll = "POLL",
        /// The provider pushes changes by SCIM.
        Scim = "SCIM",
    }
}

open_enum! {
    /// A directory provider.
    DirectoryProvider {
        /// Auth0.
        Auth0 = "AUTH0",
        /// Google Workspace.
        Google = "GOOGLE",
        /// JumpCloud.
        JumpCloud = "JUMPCLOUD",
        /// Microsoft Entra ID.
        MicrosoftAd = "MICROSOFT_AD",
        /// Okta.
        Okta = "OKTA",
        /// OneLogin.
        OneLogin = "ONELOGIN",
        /// Ping Identity.
        PingIdentity = "PING_IDENTITY",
    }
}
