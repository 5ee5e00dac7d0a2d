//! What people can do with status pages, incidents, maintenance and announcements; every replica serves everybody.

use std::sync::Arc;

use console_core::audit::AuditTrail;
use console_core::clock::now;
use console_core::keyspace::StatusPageKeys;
use console_core::leader::Leadership;
use console_core::repository::Versioned;
use console_core::tasks::Tasks;
use galera::publish::status_pages::{
    Announcement, Incident, IncidentState, Link, Maintenance, NewAnnouncement, NewIncident,
    NewMaintenance, PageSettings, Slug, StatusPageRecord, StatusPageRefusal,
};
use galera::recover::action::Actor;
use galera::{ClusterName, Timestamp};
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
use crate::actions::{is_valid_id, new_id};

/// Most status pages.
const PAGES_MAX: usize = 200;
/// Most incidents that are open, maintenance that is not over, and announcements that are told, at the same time.
const CURRENT_MAX: usize = 200;

/// What a desk is told.
#[derive(Clone, Debug)]
pub struct StatusPageConfig {
    /// Where the console keeps its state.
    pub state_prefix: String,
    /// This process, for people.
    pub replica: String,
    /// What every page needs of the console.
    pub assets: PageAssets,
}

/// What a desk works with.
pub struct StatusPageDeps {
    /// etcd.
    pub registry: Registry,
    /// The audit trail.
    pub trail: AuditTrail,
    /// The clusters.
    pub hub: Monitor,
    /// Who remembers how they were.
    pub verdict_history: Arc<dyn VerdictHistory>,
    /// Whether this replica leads.
    pub leadership: Leadership,
}

/// The desk; clones share it.
#[derive(Clone, Debug)]
pub struct StatusPageService {
    pub(super) inner: Arc<StatusPageInner>,
}

#[derive(Debug)]
pub(super) struct StatusPageInner {
    pub(super) store: StatusPageStore,
    pub(super) cache: StatusPageCache,
    rendered: RenderedPagesSender,
}

impl StatusPageService {
    /// A desk whose tasks keep what is known true, keep the pages ready to be sent and, while this replica leads, open and
    /// resolve incidents by themselves, as `tasks`.
    #[must_use]
    pub fn start(settings: StatusPageConfig, around: StatusPageDeps, tasks: &Tasks) -> Self {
        let Tasks { tracker, shutdown } = tasks;
        let StatusPageDeps {
            registry,
            trail,
            hub,
            verdict_history: past,
            leadership,
        } = around;
        let keys = StatusPageKeys::new(&settings.state_prefix);
        let inner = Arc::new(StatusPageInner {
            store: StatusPageStore::new(registry.clone(), keys.clone(), trail),
            cache: StatusPageCache::new(keys),
            rendered: RenderedPagesSender::default(),
        });
        let (following, stop) = (Arc::clone(&inner), shutdown.clone());
        tracker.spawn(async move { following.cache.follow(registry, stop).await });
        let desk = Self { inner };
        let press = PageRenderer::new(
            desk.clone(),
            hub.clone(),
            Arc::clone(&past),
            settings.assets,
        );
        tracker.spawn(press.run(shutdown.clone()));
        let warden = AutoIncidentWorker::new(desk.clone(), hub, past, settings.replica);
        tracker.spawn(warden.run(leadership, shutdown.clone()));
        desk
    }

    /// Every page, ready to be sent.
    #[must_use]
    pub fn rendered_pages(&self) -> Arc<RenderedPages> {
        Arc::clone(&self.inner.rendered.borrow())
    }

    /// Every page, ready to be sent, and the news of newer ones.
    #[must_use]
    pub fn subscribe_rendered(&self) -> watch::Receiver<Arc<RenderedPages>> {
        self.inner.rendered.subscribe()
    }

    pub(super) fn publish_rendered(&self, prints: RenderedPages) {
        self.inner.rendered.send_replace(Arc::new(prints));
    }

    /// Everything that is known.
    #[must_use]
    pub fn snapshot(&self) -> Arc<StatusPageSnapshot> {
        self.inner.cache.snapshot()
    }

    /// Everything that is known, and the news of changes.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<StatusPageSnapshot>> {
        self.inner.cache.subscribe()
    }

    /// The maintenance that `cluster` is in at `now`: a reason to keep alarms quiet. From memory.
    #[must_use]
    pub fn in_maintenance(&self, cluster: &ClusterName, now: Timestamp) -> Option<Maintenance> {
        self.snapshot().in_maintenance(cluster, now).cloned()
    }

    /// Makes a page.
    ///
    /// # Errors
    /// [`StatusPageError`]; nothing is made then.
    pub async fn create_page(
        &self,
        by: &Actor,
        slug: Slug,
        settings: PageSettings,
    ) -> Result<Versioned<StatusPageRecord>, StatusPageError> {
        check_limit(self.snapshot().pages.len(), PAGES_MAX, "status pages")?;
        let at = now();
        let page = StatusPageRecord::new(slug, settings, &by.name, at)?;
        let record = audit_records::page("page_created", &page, &by.name, at);
        let stored = self
            .inner
            .store
            .create(&page, Vec::new(), &[record])
            .await?;
        let stored = stored.ok_or_else(|| StatusPageError::SlugTaken(page.slug.to_string()))?;
        tracing::info!(page = %page.slug, user = by.name, "{} made the status page {}", by.name, page.slug);
        Ok(self.cache_own_write(stored))
    }

    /// Changes a page; `seen` is the revision that the change rests on, when the caller knows it.
    ///
    /// # Errors
    /// [`StatusPageError`]; the page stays as it is.
    pub async fn update_page(
        &self,
        by: &Actor,
        slug: &Slug,
        settings: PageSettings,
        seen: Option<i64>,
    ) -> Result<Versioned<StatusPageRecord>, StatusPageError> {
        let at = now();
        let step = |page: &Versioned<StatusPageRecord>| {
            if seen.is_some_and(|seen| seen != page.revision) {
                return Err(StatusPageError::Changed);
            }
            let next = page.value.with_settings(settings.clone(), at)?;
            let record = audit_records::page("page_changed", &next, &by.name, at);
            Ok((next, vec![record]))
        };
        let stored = self.inner.store.update(slug.as_str(), step).await?;
        Ok(self.cache_own_write(stored))
    }

    /// Deletes a page with all of its links; `confirm` must be its slug.
    ///
    /// # Errors
    /// [`StatusPageError`]; the page stays.
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
        let record = audit_records::page("page_deleted", &seen.value, &by.name, now());
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
            .update(|shelf| drop(shelf.pages.remove(name)));
        Ok(())
    }

    /// Makes a secret link to a page. The secret is given once, here.
    ///
    /// # Errors
    /// [`StatusPageError`]; no link is made then.
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
        let step = |page: &Versioned<StatusPageRecord>| {
            let next = page.value.with_link(link.clone())?;
            let record = audit_records::link("link_created", &next, &link, &by.name, at);
            Ok((next, vec![record]))
        };
        let stored = self.inner.store.update(slug.as_str(), step).await?;
        self.cache_own_write(stored);
        Ok((link, secret))
    }

    /// Ends a secret link.
    ///
    /// # Errors
    /// [`StatusPageError`]; the link stays as it is.
    pub async fn revoke_link(
        &self,
        by: &Actor,
        slug: &Slug,
        id: &str,
    ) -> Result<Versioned<StatusPageRecord>, StatusPageError> {
        let at = now();
        let step = |page: &Versioned<StatusPageRecord>| {
            let next = page.value.with_link_revoked(id, at);
            let next = next.ok_or_else(|| StatusPageError::NotFound {
                what: "link",
                id: format!("{:?}", id.chars().take(80).collect::<String>()),
            })??;
            let link = next.links.iter().find(|link| link.id == id);
            let record =
                link.map(|link| audit_records::link("link_revoked", &next, link, &by.name, at));
            let records = record.into_iter().collect();
            Ok((next, records))
        };
        let stored = self.inner.store.update(slug.as_str(), step).await?;
        Ok(self.cache_own_write(stored))
    }

    /// Opens an incident.
    ///
    /// # Errors
    /// [`StatusPageError`]; nothing is opened then.
    pub async fn open_incident(
        &self,
        by: &Actor,
        new: &NewIncident,
    ) -> Result<Versioned<Incident>, StatusPageError> {
        let shelf = self.snapshot();
        let open = shelf
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
            .apply_own_write(|shelf| &mut shelf.incidents, &stored);
        Ok(stored)
    }

    /// Adds an update to an incident, which may resolve it.
    ///
    /// # Errors
    /// [`StatusPageError`]; the incident stays as it is.
    pub async fn update_incident(
        &self,
        by: &Actor,
        id: &str,
        state: IncidentState,
        text: &str,
    ) -> Result<Versioned<Incident>, StatusPageError> {
        let id = validate_id::<Incident>(id)?;
        let at = now();
        let step = |incident: &Versioned<Incident>| {
            let next = incident.value.with_update(state, text, &by.name, at)?;
            let records = audit_records::incident(&next).into_iter().collect();
            Ok((next, records))
        };
        let stored = self.inner.store.update(id, step).await?;
        self.inner
            .cache
            .apply_own_write(|shelf| &mut shelf.incidents, &stored);
        Ok(stored)
    }

    /// Plans a maintenance.
    ///
    /// # Errors
    /// [`StatusPageError`]; nothing is planned then.
    pub async fn plan_maintenance(
        &self,
        by: &Actor,
        new: &NewMaintenance,
    ) -> Result<Versioned<Maintenance>, StatusPageError> {
        let (at, shelf) = (now(), self.snapshot());
        let current = shelf
            .maintenance
            .values()
            .filter(|m| m.value.ends_at() > at);
        check_limit(current.count(), CURRENT_MAX, "maintenance windows ahead")?;
        let planned = Maintenance::plan(new, &new_id(at), &by.name, at)?;
        let record = audit_records::maintenance("maintenance_planned", &planned, &by.name, at);
        let stored = self.create_item(&planned, Some(record)).await?;
        self.inner
            .cache
            .apply_own_write(|shelf| &mut shelf.maintenance, &stored);
        Ok(stored)
    }

    /// Ends a maintenance early, or calls it off.
    ///
    /// # Errors
    /// [`StatusPageError`]; the maintenance stays as it is.
    pub async fn end_maintenance(
        &self,
        by: &Actor,
        id: &str,
    ) -> Result<Versioned<Maintenance>, StatusPageError> {
        let id = validate_id::<Maintenance>(id)?;
        let at = now();
        let step = |maintenance: &Versioned<Maintenance>| {
            let next = maintenance.value.ended(&by.name, at)?;
            let record = audit_records::maintenance("maintenance_ended", &next, &by.name, at);
            Ok((next, vec![record]))
        };
        let stored = self.inner.store.update(id, step).await?;
        self.inner
            .cache
            .apply_own_write(|shelf| &mut shelf.maintenance, &stored);
        Ok(stored)
    }

    /// Announces something.
    ///
    /// # Errors
    /// [`StatusPageError`]; nothing is announced then.
    pub async fn announce(
        &self,
        by: &Actor,
        new: &NewAnnouncement,
    ) -> Result<Versioned<Announcement>, StatusPageError> {
        let (at, shelf) = (now(), self.snapshot());
        let current = shelf
            .announcements
            .values()
            .filter(|a| a.value.is_current(at));
        check_limit(current.count(), CURRENT_MAX, "announcements")?;
        let missing = new
            .pages
            .iter()
            .find(|slug| !shelf.pages.contains_key(slug.as_str()));
        if let Some(slug) = missing {
            return Err(StatusPageRefusal::UnknownPage(slug.to_string()).into());
        }
        let made = Announcement::publish(new, &new_id(at), &by.name, at)?;
        let record = audit_records::announcement("announcement_made", &made, &by.name, at);
        let stored = self.create_item(&made, Some(record)).await?;
        self.inner
            .cache
            .apply_own_write(|shelf| &mut shelf.announcements, &stored);
        Ok(stored)
    }

    /// Takes an announcement back.
    ///
    /// # Errors
    /// [`StatusPageError`]; the announcement stays.
    pub async fn withdraw_announcement(
        &self,
        by: &Actor,
        id: &str,
    ) -> Result<Versioned<Announcement>, StatusPageError> {
        let id = validate_id::<Announcement>(id)?;
        let at = now();
        let step = |announcement: &Versioned<Announcement>| {
            let next = announcement.value.withdrawn(at)?;
            let record = audit_records::announcement("announcement_withdrawn", &next, &by.name, at);
            Ok((next, vec![record]))
        };
        let stored = self.inner.store.update(id, step).await?;
        self.inner
            .cache
            .apply_own_write(|shelf| &mut shelf.announcements, &stored);
        Ok(stored)
    }

    /// Writes something under a fresh identity.
    async fn create_item<T: super::item::StatusItem>(
        &self,
        value: &T,
        record: Option<galera::record::audit::AuditRecord>,
    ) -> Result<Versioned<T>, StatusPageError> {
        let records: Vec<_> = record.into_iter().collect();
        let stored = self.inner.store.create(value, Vec::new(), &records).await?;
        // Somebody else drew the same identity in the same millisecond.
        stored.ok_or(StatusPageError::Contended)
    }

    fn cache_own_write(&self, stored: Versioned<StatusPageRecord>) -> Versioned<StatusPageRecord> {
        self.inner
            .cache
            .apply_own_write(|shelf| &mut shelf.pages, &stored);
        stored
    }
}

fn check_limit(count: usize, limit: usize, what: &'static str) -> Result<(), StatusPageRefusal> {
    if count < limit {
        return Ok(());
    }
    Err(StatusPageRefusal::TooMany { what, limit })
}

/// `id` when it may be an identity: what a person sends becomes part of a key.
fn validate_id<T: super::item::StatusItem>(id: &str) -> Result<&str, StatusPageError> {
    if is_valid_id(id) {
        Ok(id)
    } else {
        Err(not_found::<T>(id))
    }
}
