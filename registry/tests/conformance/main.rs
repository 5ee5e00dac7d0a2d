//! One suite, two back ends: every case runs against real etcd and against the store in memory that tests use, each with and
//! without sealed records.
//!
//! Cases know nothing of the back end but [`EmptyEtcd`]. What only several members can do (fail-over, a hanging member) is
//! tested in `tests/etcd`.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a failed step is a failed test"
)]

mod keys;
mod leases;
mod outages;
mod store;
mod transactions;
mod watches;

#[path = "../support/proxy.rs"]
mod proxy;
#[path = "../support/sealer.rs"]
mod sealer;

pub(crate) use store::EmptyEtcd;

/// Makes of each case a test on each back end.
macro_rules! conformance {
    ($($module:ident: $($case:ident),+;)+) => {
        mod on_etcd {
            $($(
                #[tokio::test]
                async fn $case() {
                    crate::$module::$case(crate::EmptyEtcd::on_etcd().await).await;
                }
            )+)+
        }

        mod in_memory {
            $($(
                #[tokio::test]
                async fn $case() {
                    crate::$module::$case(crate::EmptyEtcd::in_memory()).await;
                }
            )+)+
        }

        mod sealed_on_etcd {
            $($(
                #[tokio::test]
                async fn $case() {
                    crate::$module::$case(crate::EmptyEtcd::on_etcd().await.sealed()).await;
                }
            )+)+
        }

        mod sealed_in_memory {
            $($(
                #[tokio::test]
                async fn $case() {
                    crate::$module::$case(crate::EmptyEtcd::in_memory().sealed()).await;
                }
            )+)+
        }
    };
}

conformance! {
    keys:
        an_absent_key_is_none,
        an_entry_has_its_revisions_and_version,
        a_listing_holds_exactly_the_prefix_in_key_order,
        keys_and_values_are_any_bytes,
        a_listing_of_many_keys_is_of_one_revision,
        a_value_beyond_the_limit_is_refused,
        an_empty_key_is_refused,
        status_and_readiness_are_reported;
    transactions:
        exactly_one_of_eight_racers_creates,
        updates_and_deletions_compare_the_revision,
        a_transaction_happens_at_one_revision_or_not_at_all,
        the_other_branch_is_written_when_a_precondition_fails,
        each_precondition_is_compared,
        a_refusal_reports_the_present_entries,
        an_empty_transaction_compares_only,
        deleting_an_absent_key_changes_no_revision,
        a_range_of_numbered_keys_is_deleted_and_no_other,
        a_key_written_twice_is_refused,
        too_many_operations_are_refused;
    leases:
        keys_end_with_their_revoked_lease_at_one_revision,
        a_kept_lease_outlives_its_time_to_live,
        a_dropped_lease_expires,
        a_lease_without_keep_alive_expires,
        a_lease_revoked_elsewhere_is_reported_lost,
        a_lease_on_a_cut_connection_is_reported_lost,
        a_fence_refuses_a_former_holder,
        revoking_twice_is_harmless,
        an_unknown_lease_is_named,
        only_the_branch_taken_needs_its_lease,
        a_key_rewritten_without_lease_is_durable,
        a_key_moves_to_the_lease_it_was_last_written_under,
        lease_info_reports_what_was_granted;
    watches:
        a_watch_begins_with_a_reset,
        changes_arrive_once_and_in_order,
        the_changes_of_a_transaction_arrive_together,
        deletions_are_reported,
        the_end_of_a_lease_is_reported,
        other_prefixes_are_not_reported,
        two_watches_see_the_same;
    outages:
        a_cut_connection_is_unavailable,
        an_outage_is_reported_once_and_followed_by_a_reset,
        a_short_cut_resumes_without_a_gap,
        a_compaction_during_a_cut_leads_to_a_reset,
        a_compaction_leaves_a_running_watch_alone,
        a_restarted_store_keeps_its_entries_and_leases,
        a_replaced_store_leads_to_a_reset;
}
