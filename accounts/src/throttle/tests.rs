use super::*;

const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

fn address(n: u32) -> IpAddr {
    IpAddr::V4((0x0A00_0000 + n).into())
}

impl SignInAttempt {
    fn is_from_device(&self) -> bool {
        matches!(self, Self::Device(_))
    }

    fn failures_nearby(&self) -> u32 {
        match self {
            Self::Device(_) => 0,
            Self::Other {
                failures_nearby, ..
            } => *failures_nearby,
        }
    }
}

/// A throttle with the clock of a test.
struct Fixture {
    throttle: SignInThrottle,
    now: Instant,
}

impl Fixture {
    fn new() -> Self {
        Self {
            throttle: SignInThrottle::default(),
            now: Instant::now(),
        }
    }

    fn begin(&self, account: &str, from: IpAddr) -> Result<SignInAttempt, Duration> {
        self.throttle.begin_attempt(account, from, None, self.now)
    }

    fn begin_on(&self, device: u128, from: IpAddr) -> Result<SignInAttempt, Duration> {
        let device = Some(Uuid::from_u128(device));
        self.throttle.begin_attempt("dora", from, device, self.now)
    }

    /// Makes `from` fail on other names, so that it is not quiet.
    fn make_noisy(&self, from: IpAddr) {
        for n in 0..QUIET_FAILURES {
            self.begin(&format!("noise{n}"), from).unwrap();
        }
    }
}

#[test]
fn account_waits_grow_for_addresses_that_are_not_quiet() {
    let mut fixture = Fixture::new();
    for n in 0..=ACCOUNT_POLICY.free_failures {
        fixture.begin("dora", address(n)).unwrap();
    }
    for (n, seconds) in (100_u32..).zip([1, 2, 4, 8, 16, 30, 30]) {
        fixture.make_noisy(address(n));
        let wait = Duration::from_secs(seconds);
        assert_eq!(fixture.begin("dora", address(n)), Err(wait));
        let other = fixture.begin("emil", address(n)).unwrap();
        fixture.throttle.cancel_attempt(&other);
        fixture.now += wait;
        fixture.begin("dora", address(n)).unwrap();
    }
}

#[test]
fn the_owner_signs_in_from_a_quiet_address_while_others_fail_on_the_name() {
    let mut fixture = Fixture::new();
    for round in 0..75_u32 {
        // Two addresses try as often as they may.
        for attacker in [1, 2] {
            let _ = fixture.begin("dora", address(attacker));
            let _ = fixture.begin("dora", address(attacker));
        }
        let owner = fixture.begin("dora", CLIENT);
        let owner = owner.unwrap_or_else(|wait| panic!("round {round}: {wait:?}"));
        fixture.throttle.record_success(&owner);
        fixture.now += Duration::from_millis(700);
    }
}

#[test]
fn a_quiet_address_does_not_stay_quiet_by_failing() {
    let fixture = Fixture::new();
    for n in 0..100 {
        let _ = fixture.begin("dora", address(n));
    }
    for _ in 0..QUIET_FAILURES {
        fixture.begin("dora", CLIENT).unwrap();
    }
    assert!(fixture.begin("dora", CLIENT).is_err());
}

#[test]
fn a_known_device_has_its_own_budget() {
    let mut fixture = Fixture::new();
    // The address, as of a proxy, and the name are both blocked.
    for n in 0..=ADDRESS_POLICY.free_failures {
        fixture.begin(&format!("user{n}"), CLIENT).unwrap();
        let _ = fixture.begin("dora", address(n));
    }
    assert!(fixture.begin("dora", CLIENT).is_err());
    let attempt = fixture.begin_on(1, CLIENT).unwrap();
    assert!(attempt.is_from_device());
    fixture.throttle.record_success(&attempt);
    // A stolen cookie is worth a few guesses.
    for _ in 0..=DEVICE_POLICY.free_failures {
        assert!(fixture.begin_on(1, CLIENT).unwrap().is_from_device());
    }
    assert!(fixture.begin_on(1, CLIENT).is_err());
    assert!(
        !fixture
            .begin_on(1, address(7_000))
            .unwrap()
            .is_from_device()
    );
    assert!(fixture.begin_on(2, CLIENT).unwrap().is_from_device());
    fixture.now += DEVICE_POLICY.forget_after;
    assert!(fixture.begin_on(1, CLIENT).unwrap().is_from_device());
}

#[test]
fn address_waits_apply_regardless_of_the_account() {
    let fixture = Fixture::new();
    for n in 0..=ADDRESS_POLICY.free_failures {
        fixture.begin(&format!("user{n}"), CLIENT).unwrap();
    }
    assert!(fixture.begin("another", CLIENT).is_err());
    assert!(fixture.begin("another", address(1)).is_ok());
}

#[test]
fn success_earns_an_address_no_guesses() {
    let fixture = Fixture::new();
    for n in 0..=ADDRESS_POLICY.free_failures {
        let own = fixture.begin("mallory", CLIENT);
        let refused = own.is_err() || fixture.begin(&format!("u{n}"), CLIENT).is_err();
        if let Ok(own) = own {
            fixture.throttle.record_success(&own);
        }
        if refused {
            return;
        }
    }
    panic!("successful sign-ins must not earn an address more guesses");
}

#[test]
fn the_success_of_the_owner_earns_an_attacker_no_guesses() {
    let fixture = Fixture::new();
    fixture.make_noisy(CLIENT);
    for _ in 0..=ACCOUNT_POLICY.free_failures {
        fixture.begin("dora", CLIENT).unwrap();
    }
    let owner = fixture.begin("dora", address(1)).unwrap();
    fixture.throttle.record_success(&owner);
    assert!(fixture.begin("dora", CLIENT).is_err());
}

#[test]
fn changing_an_ipv6_address_within_a_network_resets_nothing() {
    let fixture = Fixture::new();
    for n in 0..=u128::from(ADDRESS_POLICY.free_failures) {
        let address = IpAddr::V6((0x2001_0db8_u128 << 96 | n).into());
        fixture.begin(&format!("user{n}"), address).unwrap();
    }
    assert!(
        fixture
            .begin("x", "2001:db8::ffff".parse().unwrap())
            .is_err()
    );
}

#[test]
fn a_site_with_many_networks_is_quiet_once() {
    let fixture = Fixture::new();
    for n in 0..=ACCOUNT_POLICY.free_failures {
        fixture.begin("dora", address(n)).unwrap();
    }
    let network = |n: u128| IpAddr::V6((0x2001_0db8_u128 << 96 | n << 64).into());
    for n in 0..u128::from(QUIET_FAILURES) {
        fixture.begin("dora", network(n)).unwrap();
    }
    assert!(fixture.begin("dora", network(99)).is_err());
}

#[test]
fn memory_is_bounded_and_keeps_the_longest_waits() {
    let fixture = Fixture::new();
    for n in 0..=ACCOUNT_POLICY.free_failures {
        fixture.begin("target", address(n)).unwrap();
    }
    for n in 0..25_000 {
        fixture
            .begin(&format!("user{n}"), address(1000 + n))
            .unwrap();
        fixture.begin_on(n.into(), address(1000 + n)).unwrap();
    }
    let state = fixture.throttle.lock();
    assert!(state.accounts.len() <= ENTRIES_MAX && state.addresses.len() <= ENTRIES_MAX);
    assert!(state.devices.len() <= ENTRIES_MAX && state.sites.len() <= ENTRIES_MAX);
    assert!(state.neighborhoods.len() <= ENTRIES_MAX);
    drop(state);
    fixture.make_noisy(CLIENT);
    assert!(fixture.begin("target", CLIENT).is_err());
}

#[test]
fn wrong_codes_wait_apart_from_wrong_passwords() {
    let throttle = SignInThrottle::default();
    let mut now = Instant::now();
    for _ in 0..=CODE_POLICY.free_failures {
        throttle.begin_code("dora", now).unwrap();
    }
    assert!(throttle.begin_code("dora", now).is_err());
    assert_eq!(throttle.begin_code("emil", now), Ok(()));
    // A right password does not permit more codes.
    let attempt = throttle.begin_attempt("dora", CLIENT, None, now).unwrap();
    throttle.record_success(&attempt);
    assert!(throttle.begin_code("dora", now).is_err());
    let mut tried = 0;
    for _ in 0..86_400 / 10 {
        now += Duration::from_secs(10);
        tried += u32::from(throttle.begin_code("dora", now).is_ok());
    }
    assert!(tried < 120, "{tried} codes a day");
    throttle.record_right_code("dora");
    assert_eq!(throttle.begin_code("dora", now), Ok(()));
}

#[test]
fn a_guess_from_a_new_address_of_a_busy_network_comes_after_a_first_try_elsewhere() {
    let mut fixture = Fixture::new();
    let nearby = |fixture: &Fixture, from: &str| {
        let attempt = fixture.begin("dora", from.parse().unwrap()).unwrap();
        fixture.throttle.cancel_attempt(&attempt);
        attempt.failures_nearby()
    };
    for (v4, v6) in (0..60_u32).zip(0_u128..) {
        fixture.begin("dora", address(v4 * 256)).unwrap();
        let v6 = IpAddr::V6((0x2001_0db8_u128 << 96 | v6 << 80).into());
        fixture.begin("dora", v6).unwrap();
    }
    assert_eq!(nearby(&fixture, "10.0.200.1"), 60);
    assert_eq!(
        nearby(&fixture, "10.0.3.200"),
        61,
        "the near failure counts twice"
    );
    assert_eq!(nearby(&fixture, "10.0.3.0"), 62);
    assert_eq!(nearby(&fixture, "::ffff:10.0.200.1"), 60);
    assert_eq!(nearby(&fixture, "2001:db8:ffff::1"), 60);
    for elsewhere in ["10.1.0.1", "198.51.100.7", "2001:db9::1"] {
        assert_eq!(nearby(&fixture, elsewhere), 0, "{elsewhere}");
    }
    // Mistyped twice, its owner is still served before the guesses.
    for _ in 0..2 {
        fixture.begin("dora", CLIENT).unwrap();
    }
    assert_eq!(nearby(&fixture, "192.0.2.1"), 6);
    // A network is not remembered for the guesses of yesterday.
    fixture.now += NEIGHBORHOOD_POLICY.forget_after;
    assert_eq!(nearby(&fixture, "10.0.200.1"), 0);
}

#[test]
fn failures_expire() {
    let mut fixture = Fixture::new();
    for n in 0..=ADDRESS_POLICY.free_failures {
        fixture.begin("dora", address(n)).unwrap();
        let _ = fixture.begin(&format!("user{n}"), CLIENT);
    }
    assert!(fixture.begin("dora", CLIENT).is_err());
    fixture.now += ADDRESS_POLICY.forget_after;
    assert!(fixture.begin("dora", CLIENT).is_ok());
}
