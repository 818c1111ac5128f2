//! The enumerations of the matrix and of the load, each with its spelling.

use crate::spelling::spelled;

spelled! {
    /// A protocol of the KServe v2 standard.
    #[derive(Default)]
    pub enum Protocol {
        /// HTTP/1.1.
        #[default]
        Http = "http",
        /// gRPC over HTTP/2.
        Grpc = "grpc",
    }
}

spelled! {
    /// How requests of an open loop arrive.
    #[derive(Default)]
    pub enum Arrival {
        /// At equal distances.
        #[default]
        Constant = "constant",
        /// Independently of each other: at exponentially distributed distances.
        Poisson = "poisson",
        /// In bursts, or more regularly than independent ones: at gamma distributed distances.
        Gamma = "gamma",
        /// Independently of each other, but only part of the time.
        OnOff = "on_off",
        /// At a rate that changes in stages.
        Stages = "stages",
        /// As a file says.
        File = "file",
    }
}

spelled! {
    /// When a request is encoded.
    #[derive(Default)]
    pub enum Encode {
        /// Before measuring starts; all requests of a case are the same bytes.
        #[default]
        Once = "once",
        /// Each one, within its latency, as a client library does.
        EachRequest = "each-request",
    }
}

spelled! {
    /// Whether connections are encrypted.
    pub enum Encryption {
        /// They are not.
        Off = "off",
        /// By TLS.
        On = "on",
    }
}

spelled! {
    /// One of two equal variants.
    pub enum Arm {
        /// The one that the other is compared with.
        A = "a",
        /// The other.
        B = "b",
    }
}

spelled! {
    /// Who describes the inputs and outputs of a request.
    #[derive(Default)]
    pub enum Describer {
        /// The scenario.
        #[default]
        Scenario = "scenario",
        /// The server's metadata; inputs are zeros.
        Server = "server",
    }
}
