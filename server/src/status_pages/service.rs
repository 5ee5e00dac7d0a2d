//! Changes to status pages, incidents, maintenance and announcements, on any replica.

use std::collections::BTreeMap;
use std::sync::Arc;

use console_core::audit::AuditTrail;
use console_core::clock::now;
use console_core::current_labels::CurrentLabels;
use console_core::keyspace::StatusPageKeys;
use console_core::leader::Leadership;
use console_core::repository::Versioned;
use console_core::tasks::Tasks;
use galera::id::{is_record_id, new_record_id};
use galera::publish::status_pages::{
    Announcement, Incident, IncidentImpact, IncidentState, LabelledCluster, Link, Maintenance,
    NewAnnouncement, NewIncident, NewMaintenance, PageSettings, Slug, StatusPageRecord,
    StatusPageRefusal,
};
use galera::record::audit::{AuditEvent, AuditRecord};
use galera::recover::action::Actor;
use galera::{ClusterName, ReplicaId, Timestamp};
use monitor::Monitor;
use registry::Registry;
use tokio::sync::watch;

use super::StatusPageError;
use super::audit_records;
use super::auto_incidents::AutoIncidentWorker;
use super::cache::{StatusPageCache, StatusPageSnapshot};
use super::link_secret::LinkSecret;
use super::rendered_page::{PageAssets, RenderedPages};
use super::renderer::{PageRenderer, RenderedPagesSender};
use super::store::{StatusPageStore, not_found};
use super::verdict_history::VerdictHistory;

const PAGES_MAX: usize = 200;
/// Maximum number of open incidents, of unfinished maintenance, and of current announcements, each.
const CURRENT_MAX: usize = 200;

/// Settings of the service.
#[derive(Clone, Debug)]
pub struct StatusPageConfig {
    /// Prefix of the console's keys in etcd.
    pub state_prefix: String,
    pub replica: ReplicaId,
    pub assets: PageAssets,
}

/// What the service depends on.
pub struct StatusPageDeps {
    pub registry: Registry,
    pub trail: AuditTrail,
    pub monitor: Monitor,
    pub labels: CurrentLabels,
    pub verdict_history: Arc<dyn VerdictHistory>,
    pub leadership: Leadership,
}

/// Manages status pages; clones share it.
#[derive(Clone, Debug)]
pub struct StatusPageService {
    pub(super) inner: Arc<StatusPageInner>,
}

#[derive(Debug)]
pub(super) struct StatusPageInner {
    pub(super) store: StatusPageStore,
    pub(super) cache: StatusPageCache,
    monitor: Monitor,
    pub(super) labels: CurrentLabels,
    rendered: RenderedPagesSender,
}

impl StatusPageService {
    /// Starts the service's tasks: they follow etcd, keep the pages rendered and, while this replica leads, open and
    /// resolve automatic incidents.
    #[must_use]
    pub fn start(settings: StatusPageConfig, deps: StatusPageDeps, tasks: &Tasks) -> Self {
        let Tasks { tracker, shutdown } = tasks;
        let StatusPageDeps {
            registry,
            trail,
            monitor,
            labels,
            verdict_history,
            leadership,
        } = deps;
        let keys = StatusPageKeys::new(&settings.state_prefix);
        let inner = Arc::new(StatusPageInner {
            store: StatusPageStore::new(registry.clone(), keys.clone(), trail),
            cache: StatusPageCache::new(keys),
            monitor: monitor.clone(),
            labels,
            rendered: RenderedPagesSender::default(),
        });
        let (follower, stop) = (Arc::clone(&inner), shutdown.clone());
        tracker.spawn(async move { follower.cache.follow(registry, stop).await });
        let service = Self { inner };
        let renderer = PageRenderer::new(
            service.clone(),
            monitor.clone(),
            Arc::clone(&verdict_history),
            settings.assets,
        );
        tracker.spawn(renderer.run(shutdown.clone()));
        let auto_incidents =
            AutoIncidentWorker::new(service.clone(), monitor, verdict_history, settings.replica);
        tracker.spawn(auto_incidents.run(leadership, shutdown.clone()));
        service
    }

    /// All rendered pages.
    #[must_use]
    pub fn rendered_pages(&self) -> Arc<RenderedPages> {
        Arc::clone(&self.inner.rendered.borrow())
    }

    /// All rendered pages; the receiver is notified of changes.
    #[must_use]
    pub fn subscribe_rendered(&self) -> watch::Receiver<Arc<RenderedPages>> {
        self.inner.rendered.subscribe()
    }

    pub(super) fn publish_rendered(&self, pages: RenderedPages) {
        self.inner.rendered.send_replace(Arc::new(pages));
    }

    /// Everything about status pages. Read from memory.
    #[must_use]
    pub fn snapshot(&self) -> Arc<StatusPageSnapshot> {
        self.inner.cache.snapshot()
    }

    /// Everything about status pages; the receiver is notified of changes.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<StatusPageSnapshot>> {
        self.inner.cache.subscribe()
    }

    /// The pages of `snapshot` by slug, each with the clusters that its labels select now.
    #[must_use]
    pub fn expanded_pages(
        &self,
        snapshot: &StatusPageSnapshot,
    ) -> BTreeMap<String, Arc<Versioned<StatusPageRecord>>> {
        let pages = snapshot.pages.iter();
        let mut known = None;
        pages
            .map(|(slug, page)| {
                let expanded = match page.value.settings.labels.is_empty() {
                    true => Arc::clone(page),
                    false => Arc::new(Versioned {
                        value: page
                            .value
                            .expanded(known.get_or_insert_with(|| self.labelled())),
                        revision: page.revision,
                    }),
                };
                (slug.clone(), expanded)
            })
            .collect()
    }

    /// `page` with the clusters that its labels select now.
    #[must_use]
    pub fn expanded(&self, page: &StatusPageRecord) -> StatusPageRecord {
        match page.settings.labels.is_empty() {
            true => page.clone(),
            false => page.expanded(&self.labelled()),
        }
    }

    /// The monitored clusters by name, with their labels.
    fn labelled(&self) -> Vec<LabelledCluster> {
        let labels = self.inner.labels.get();
        let views = self.inner.monitor.views();
        let mut known: Vec<LabelledCluster> = views
            .iter()
            .map(|view| (view.value.name.clone(), labels.of(&view.value.name)))
            .collect();
        known.sort_unstable();
        known
    }

    /// The maintenance of `cluster` that is in progress at `now`, during which alerts are muted. Read from memory.
    #[must_use]
    pub fn in_maintenance(&self, cluster: &ClusterName, now: Timestamp) -> Option<Maintenance> {
        self.snapshot().in_maintenance(cluster, now).cloned()
    }

    /// Creates a page.
    ///
    /// # Errors
    /// When the settings are invalid, the slug is taken, there are too many pages, or etcd fails.
    pub async fn create_page(
        &self,
        by: &Actor,
        slug: Slug,
        settings: PageSettings,
    ) -> Result<Versioned<StatusPageRecord>, StatusPageError> {
        check_limit(self.snapshot().pages.len(), PAGES_MAX, "status pages")?;
        let at = now();
        let page = StatusPageRecord::new(slug, settings, &by.name, at)?;
        let record = audit_records::page(AuditEvent::PAGE_CREATED, &page, &by.name, at);
        let stored = self
            .inner
            .store
            .create(&page, Vec::new(), &[record])
            .await?;
        let stored = stored.ok_or_else(|| StatusPageError::SlugTaken(page.slug.to_string()))?;
        tracing::info!(page = %page.slug, user = by.name, "{} created the status page {}", by.name, page.slug);
        Ok(self.cache_own_write(stored))
    }

    /// Changes a page; `seen` is the revision that the change is based on, if the caller knows it.
    ///
    /// # Errors
    /// When the settings are invalid, the page is unknown or was changed since, or etcd fails.
    pub async fn update_page(
        &self,
        by: &Actor,
        slug: &Slug,
        settings: PageSettings,
        seen: Option<i64>,
    ) -> Result<Versioned<StatusPageRecord>, StatusPageError> {
        let at = now();
        let change = |page: &Versioned<StatusPageRecord>| {
            if seen.is_some_and(|seen| seen != page.revision) {
                return Err(StatusPageError::Changed);
            }
            let next = page.value.with_settings(settings.clone(), at)?;
            let record = audit_records::page(AuditEvent::PAGE_CHANGED, &next, &by.name, at);
            Ok((next, vec![record]))
        };
        let stored = self.inner.store.update(slug.as_str(), change).await?;
        Ok(self.cache_own_write(stored))
    }

    /// Deletes a page with its links; `confirm` must be its slug.
    ///
    /// # Errors
    /// When it is not confirmed, the page is unknown or was changed in the meantime, or etcd fails.
    pub async fn delete_page(
        &self,
        by: &Actor,
        slug: &Slug,
        confirm: &str,
    ) -> Result<(), StatusPageError> {
        let seen = self
            .inner
            .store
            .get::<StatusPageRecord>(slug.as_str())
            .await?;
        if confirm != slug.as_str() {
            return Err(StatusPageRefusal::NotConfirmed(slug.to_string()).into());
        }
        let record = audit_records::page(AuditEvent::PAGE_DELETED, &seen.value, &by.name, now());
        if !self
            .inner
            .store
            .remove(&seen, Vec::new(), &[record])
            .await?
        {
            return Err(StatusPageError::Changed);
        }
        tracing::info!(page = %slug, user = by.name, "{} deleted the status page {slug}", by.name);
        let name = slug.as_str();
        self.inner
            .cache
            .update(|snapshot| drop(snapshot.pages.remove(name)));
        Ok(())
    }

    /// Creates a secret link to a page. The secret is returned only here.
    ///
    /// # Errors
    /// When the page is unknown or needs no link, the expiry is in the past, or etcd fails.
    pub async fn create_link(
        &self,
        by: &Actor,
        slug: &Slug,
        label: &str,
        expires_at: Option<Timestamp>,
    ) -> Result<(Link, LinkSecret), StatusPageError> {
        let (at, secret) = (now(), LinkSecret::generate());
        let link = Link {
            id: new_id(at),
            label: label.to_owned(),
            hash: secret.hash(),
            created_by: by.name.clone(),
            created_at: at,
            expires_at,
            revoked_at: None,
        };
        let change = |page: &Versioned<StatusPageRecord>| {
            let next = page.value.with_link(link.clone())?;
            let record = audit_records::link(AuditEvent::LINK_CREATED, &next, &link, &by.name, at);
            Ok((next, vec![record]))
        };
        let stored = self.inner.store.update(slug.as_str(), change).await?;
        self.cache_own_write(stored);
        Ok((link, secret))
    }

    /// Revokes a secret link.
    ///
    /// # Errors
    /// When the page or the link is unknown, the link is revoked already, or etcd fails.
    pub async fn revoke_link(
        &self,
        by: &Actor,
        slug: &Slug,
        id: &str,
    ) -> Result<Versioned<StatusPageRecord>, StatusPageError> {
        let at = now();
        let change = |page: &Versioned<StatusPageRecord>| {
            let next = page.value.with_link_revoked(id, at);
            let next = next.ok_or_else(|| StatusPageError::NotFound {
                what: "link",
                id: format!("{:?}", id.chars().take(80).collect::<String>()),
            })??;
            let link = next.links.iter().find(|link| link.id == id);
            let record = link.map(|link| {
                audit_records::link(AuditEvent::LINK_REVOKED, &next, link, &by.name, at)
            });
            let records = record.into_iter().collect();
            Ok((next, records))
        };
        let stored = self.inner.store.update(slug.as_str(), change).await?;
        Ok(self.cache_own_write(stored))
    }

    /// Opens an incident.
    ///
    /// # Errors
    /// When it is invalid, there are too many open incidents, or etcd fails.
    pub async fn open_incident(
        &self,
        by: &Actor,
        new: &NewIncident,
    ) -> Result<Versioned<Incident>, StatusPageError> {
        let snapshot = self.snapshot();
        let open = snapshot
            .incidents
            .values()
            .filter(|stored| stored.value.is_open());
        check_limit(open.count(), CURRENT_MAX, "open incidents")?;
        let at = now();
        let incident = Incident::open(new, &new_id(at), &by.name, at)?;
        let stored = self
            .create_item(&incident, audit_records::incident(&incident))
            .await?;
        self.inner
            .cache
            .apply_own_write(|snapshot| &mut snapshot.incidents, &stored);
        Ok(stored)
    }

    /// Adds an update to an incident, which may resolve it.
    ///
    /// # Errors
    /// When the update is invalid, the incident is unknown or resolved, or etcd fails.
    pub async fn update_incident(
        &self,
        by: &Actor,
        id: &str,
        state: IncidentState,
        impact: Option<IncidentImpact>,
        text: &str,
    ) -> Result<Versioned<Incident>, StatusPageError> {
        let id = validate_id::<Incident>(id)?;
        let at = now();
        let change = |incident: &Versioned<Incident>| {
            let next = incident.value.with_update(state, text, &by.name, at)?;
            let next = next.with_impact(impact);
            let records = audit_records::incident(&next).into_iter().collect();
            Ok((next, records))
        };
        let stored = self.inner.store.update(id, change).await?;
        self.inner
            .cache
            .apply_own_write(|snapshot| &mut snapshot.incidents, &stored);
        Ok(stored)
    }

    /// Schedules maintenance.
    ///
    /// # Errors
    /// When it is invalid, there is too much unfinished maintenance, or etcd fails.
    pub async fn plan_maintenance(
        &self,
        by: &Actor,
        new: &NewMaintenance,
    ) -> Result<Versioned<Maintenance>, StatusPageError> {
        let (at, snapshot) = (now(), self.snapshot());
        let current = snapshot
            .maintenance
            .values()
            .filter(|m| m.value.ends_at() > at);
        check_limit(current.count(), CURRENT_MAX, "maintenance windows")?;
        let maintenance = Maintenance::plan(new, &new_id(at), &by.name, at)?;
        let record =
            audit_records::maintenance(AuditEvent::MAINTENANCE_PLANNED, &maintenance, &by.name, at);
        let stored = self.create_item(&maintenance, Some(record)).await?;
        self.inner
            .cache
            .apply_own_write(|snapshot| &mut snapshot.maintenance, &stored);
        Ok(stored)
    }

    /// Ends maintenance early, or cancels it.
    ///
    /// # Errors
    /// When the maintenance is unknown or over, or etcd fails.
    pub async fn end_maintenance(
        &self,
        by: &Actor,
        id: &str,
    ) -> Result<Versioned<Maintenance>, StatusPageError> {
        let id = validate_id::<Maintenance>(id)?;
        let at = now();
        let change = |maintenance: &Versioned<Maintenance>| {
            let next = maintenance.value.ended(&by.name, at)?;
            let record =
                audit_records::maintenance(AuditEvent::MAINTENANCE_ENDED, &next, &by.name, at);
            Ok((next, vec![record]))
        };
        let stored = self.inner.store.update(id, change).await?;
        self.inner
            .cache
            .apply_own_write(|snapshot| &mut snapshot.maintenance, &stored);
        Ok(stored)
    }

    /// Publishes an announcement.
    ///
    /// # Errors
    /// When it is invalid, names an unknown page, there are too many current announcements, or etcd fails.
    pub async fn announce(
        &self,
        by: &Actor,
        new: &NewAnnouncement,
    ) -> Result<Versioned<Announcement>, StatusPageError> {
        let (at, snapshot) = (now(), self.snapshot());
        let current = snapshot
            .announcements
            .values()
            .filter(|a| a.value.is_current(at));
        check_limit(current.count(), CURRENT_MAX, "announcements")?;
        let missing = new
            .pages
            .iter()
            .find(|slug| !snapshot.pages.contains_key(slug.as_str()));
        if let Some(slug) = missing {
            return Err(StatusPageRefusal::UnknownPage(slug.to_string()).into());
        }
        let announcement = Announcement::publish(new, &new_id(at), &by.name, at)?;
        let record =
            audit_records::announcement(AuditEvent::ANNOUNCEMENT_MADE, &announcement, &by.name, at);
        let stored = self.create_item(&announcement, Some(record)).await?;
        self.inner
            .cache
            .apply_own_write(|snapshot| &mut snapshot.announcements, &stored);
        Ok(stored)
    }

    /// Withdraws an announcement.
    ///
    /// # Errors
    /// When the announcement is unknown or withdrawn already, or etcd fails.
    pub async fn withdraw_announcement(
        &self,
        by: &Actor,
        id: &str,
    ) -> Result<Versioned<Announcement>, StatusPageError> {
        let id = validate_id::<Announcement>(id)?;
        let at = now();
        let change = |announcement: &Versioned<Announcement>| {
            let next = announcement.value.withdrawn(at)?;
            let record = audit_records::announcement(
                AuditEvent::ANNOUNCEMENT_WITHDRAWN,
                &next,
                &by.name,
                at,
            );
            Ok((next, vec![record]))
        };
        let stored = self.inner.store.update(id, change).await?;
        self.inner
            .cache
            .apply_own_write(|snapshot| &mut snapshot.announcements, &stored);
        Ok(stored)
    }

    /// Writes an item under its new ID.
    async fn create_item<T: super::item::StatusItem>(
        &self,
        value: &T,
        record: Option<AuditRecord>,
    ) -> Result<Versioned<T>, StatusPageError> {
        let records: Vec<_> = record.into_iter().collect();
        let stored = self.inner.store.create(value, Vec::new(), &records).await?;
        // `None` when the same ID was generated elsewhere in the same millisecond.
        stored.ok_or(StatusPageError::Contended)
    }

    fn cache_own_write(&self, stored: Versioned<StatusPageRecord>) -> Versioned<StatusPageRecord> {
        self.inner
            .cache
            .apply_own_write(|snapshot| &mut snapshot.pages, &stored);
        stored
    }
}

fn check_limit(count: usize, limit: usize, what: &'static str) -> Result<(), StatusPageRefusal> {
    if count < limit {
        return Ok(());
    }
    Err(StatusPageRefusal::TooMany { what, limit })
}

fn new_id(at: Timestamp) -> String {
    new_record_id(at, rand::random())
}

/// Returns `id` if it has the form of an ID: it becomes part of a key.
fn validate_id<T: super::item::StatusItem>(id: &str) -> Result<&str, StatusPageError> {
    if is_record_id(id) {
        Ok(id)
    } else {
        Err(not_found::<T>(id))
    }
}
