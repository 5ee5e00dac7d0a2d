//! What people can do with status pages, incidents, maintenance and announcements; every replica serves everybody.

use std::sync::Arc;

use console_core::audit::Trail;
use console_core::clock::now;
use console_core::leader::Leadership;
use galera::publish::status_pages::{
    Announcement, Incident, IncidentState, Link, Maintenance, NewAnnouncement, NewIncident,
    NewMaintenance, Page, PageSettings, Refusal, Slug,
};
use galera::recover::action::Actor;
use galera::{ClusterName, Timestamp};
use monitor::Hub;
use registry::Registry;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::StatusError;
use super::board::{Board, Shelf, Stored};
use super::keys::Keys;
use super::past::Past;
use super::press::{Gallery, Press};
use super::print::{Look, Prints};
use super::records;
use super::secret::LinkSecret;
use super::store::{Store, unknown};
use super::warden::Warden;
use crate::actions::{fresh_id, is_id};

/// Most status pages.
const PAGES_MAX: usize = 200;
/// Most incidents that are open, maintenance that is not over, and announcements that are told, at the same time.
const CURRENT_MAX: usize = 200;

/// What a desk is told.
#[derive(Clone, Debug)]
pub struct StatusSettings {
    /// Where the console keeps its state.
    pub state_prefix: String,
    /// This process, for people.
    pub replica: String,
    /// What every page needs of the console.
    pub look: Look,
}

/// What a desk works with.
pub struct Around {
    /// etcd.
    pub registry: Registry,
    /// The audit trail.
    pub trail: Trail,
    /// The clusters.
    pub hub: Hub,
    /// Who remembers how they were.
    pub past: Arc<dyn Past>,
    /// Whether this replica leads.
    pub leadership: Leadership,
}

/// The desk; clones share it.
#[derive(Clone, Debug)]
pub struct StatusDesk {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) store: Store,
    pub(super) board: Board,
    gallery: Gallery,
}

impl StatusDesk {
    /// A desk whose tasks keep what is known true, keep the pages ready to be sent and, while this replica leads, open and
    /// resolve incidents by themselves: on `tracker` and until `shutdown`.
    #[must_use]
    pub fn open(
        settings: StatusSettings,
        around: Around,
        tracker: &TaskTracker,
        shutdown: &CancellationToken,
    ) -> Self {
        let Around {
            registry,
            trail,
            hub,
            past,
            leadership,
        } = around;
        let keys = Keys::new(&settings.state_prefix);
        let inner = Arc::new(Inner {
            store: Store::new(registry.clone(), keys.clone(), trail),
            board: Board::new(keys),
            gallery: Gallery::default(),
        });
        let (following, stop) = (Arc::clone(&inner), shutdown.clone());
        tracker.spawn(async move { following.board.follow(registry, stop).await });
        let desk = Self { inner };
        let press = Press::new(desk.clone(), hub.clone(), Arc::clone(&past), settings.look);
        tracker.spawn(press.run(shutdown.clone()));
        let warden = Warden::new(desk.clone(), hub, past, settings.replica);
        tracker.spawn(warden.run(leadership, shutdown.clone()));
        desk
    }

    /// Every page, ready to be sent.
    #[must_use]
    pub fn prints(&self) -> Arc<Prints> {
        Arc::clone(&self.inner.gallery.borrow())
    }

    /// Every page, ready to be sent, and the news of newer ones.
    #[must_use]
    pub fn follow_prints(&self) -> watch::Receiver<Arc<Prints>> {
        self.inner.gallery.subscribe()
    }

    pub(super) fn publish(&self, prints: Prints) {
        self.inner.gallery.send_replace(Arc::new(prints));
    }

    /// Everything that is known.
    #[must_use]
    pub fn shelf(&self) -> Arc<Shelf> {
        self.inner.board.shelf()
    }

    /// Everything that is known, and the news of changes.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<Shelf>> {
        self.inner.board.subscribe()
    }

    /// The maintenance that `cluster` is in at `now`: a reason to keep alarms quiet. From memory.
    #[must_use]
    pub fn in_maintenance(&self, cluster: &ClusterName, now: Timestamp) -> Option<Maintenance> {
        self.shelf().in_maintenance(cluster, now).cloned()
    }

    /// Makes a page.
    ///
    /// # Errors
    /// [`StatusError`]; nothing is made then.
    pub async fn create_page(
        &self,
        by: &Actor,
        slug: Slug,
        settings: PageSettings,
    ) -> Result<Stored<Page>, StatusError> {
        bounded(self.shelf().pages.len(), PAGES_MAX, "status pages")?;
        let at = now();
        let page = Page::new(slug, settings, &by.name, at)?;
        let record = records::page("page_created", &page, &by.name, at);
        let stored = self
            .inner
            .store
            .create(&page, Vec::new(), &[record])
            .await?;
        let stored = stored.ok_or_else(|| StatusError::Exists(page.slug.to_string()))?;
        tracing::info!(page = %page.slug, user = by.name, "{} made the status page {}", by.name, page.slug);
        Ok(self.wrote_page(stored))
    }

    /// Changes a page; `seen` is the revision that the change rests on, when the caller knows it.
    ///
    /// # Errors
    /// [`StatusError`]; the page stays as it is.
    pub async fn change_page(
        &self,
        by: &Actor,
        slug: &Slug,
        settings: PageSettings,
        seen: Option<i64>,
    ) -> Result<Stored<Page>, StatusError> {
        let at = now();
        let step = |page: &Stored<Page>| {
            if seen.is_some_and(|seen| seen != page.revision) {
                return Err(StatusError::Changed);
            }
            let next = page.value.changed(settings.clone(), at)?;
            let record = records::page("page_changed", &next, &by.name, at);
            Ok((next, vec![record]))
        };
        let stored = self.inner.store.change(slug.as_str(), step).await?;
        Ok(self.wrote_page(stored))
    }

    /// Deletes a page with all of its links; `confirm` must be its slug.
    ///
    /// # Errors
    /// [`StatusError`]; the page stays.
    pub async fn delete_page(
        &self,
        by: &Actor,
        slug: &Slug,
        confirm: &str,
    ) -> Result<(), StatusError> {
        let seen = self.inner.store.get::<Page>(slug.as_str()).await?;
        if confirm != slug.as_str() {
            return Err(Refusal::NotConfirmed(slug.to_string()).into());
        }
        let record = records::page("page_deleted", &seen.value, &by.name, now());
        if !self
            .inner
            .store
            .remove(&seen, Vec::new(), &[record])
            .await?
        {
            return Err(StatusError::Changed);
        }
        tracing::info!(page = %slug, user = by.name, "{} deleted the status page {slug}", by.name);
        let name = slug.as_str();
        self.inner
            .board
            .amend(|shelf| drop(shelf.pages.remove(name)));
        Ok(())
    }

    /// Makes a secret link to a page. The secret is given once, here.
    ///
    /// # Errors
    /// [`StatusError`]; no link is made then.
    pub async fn create_link(
        &self,
        by: &Actor,
        slug: &Slug,
        label: &str,
        expires_at: Option<Timestamp>,
    ) -> Result<(Link, LinkSecret), StatusError> {
        let (at, secret) = (now(), LinkSecret::fresh());
        let link = Link {
            id: fresh_id(at),
            label: label.to_owned(),
            hash: secret.hash(),
            created_by: by.name.clone(),
            created_at: at,
            expires_at,
            revoked_at: None,
        };
        let step = |page: &Stored<Page>| {
            let next = page.value.with_link(link.clone())?;
            let record = records::link("link_created", &next, &link, &by.name, at);
            Ok((next, vec![record]))
        };
        let stored = self.inner.store.change(slug.as_str(), step).await?;
        self.wrote_page(stored);
        Ok((link, secret))
    }

    /// Ends a secret link.
    ///
    /// # Errors
    /// [`StatusError`]; the link stays as it is.
    pub async fn revoke_link(
        &self,
        by: &Actor,
        slug: &Slug,
        id: &str,
    ) -> Result<Stored<Page>, StatusError> {
        let at = now();
        let step = |page: &Stored<Page>| {
            let next = page.value.without_link(id, at);
            let next = next.ok_or_else(|| StatusError::Unknown {
                what: "link",
                id: format!("{:?}", id.chars().take(80).collect::<String>()),
            })??;
            let link = next.links.iter().find(|link| link.id == id);
            let record = link.map(|link| records::link("link_revoked", &next, link, &by.name, at));
            let records = record.into_iter().collect();
            Ok((next, records))
        };
        let stored = self.inner.store.change(slug.as_str(), step).await?;
        Ok(self.wrote_page(stored))
    }

    /// Opens an incident.
    ///
    /// # Errors
    /// [`StatusError`]; nothing is opened then.
    pub async fn open_incident(
        &self,
        by: &Actor,
        new: &NewIncident,
    ) -> Result<Stored<Incident>, StatusError> {
        let shelf = self.shelf();
        let open = shelf
            .incidents
            .values()
            .filter(|stored| stored.value.is_open());
        bounded(open.count(), CURRENT_MAX, "open incidents")?;
        let at = now();
        let incident = Incident::open(new, &fresh_id(at), &by.name, at)?;
        let stored = self.create(&incident, records::incident(&incident)).await?;
        self.inner
            .board
            .wrote(|shelf| &mut shelf.incidents, &stored);
        Ok(stored)
    }

    /// Adds an update to an incident, which may resolve it.
    ///
    /// # Errors
    /// [`StatusError`]; the incident stays as it is.
    pub async fn update_incident(
        &self,
        by: &Actor,
        id: &str,
        state: IncidentState,
        text: &str,
    ) -> Result<Stored<Incident>, StatusError> {
        let id = known_id::<Incident>(id)?;
        let at = now();
        let step = |incident: &Stored<Incident>| {
            let next = incident.value.updated(state, text, &by.name, at)?;
            let records = records::incident(&next).into_iter().collect();
            Ok((next, records))
        };
        let stored = self.inner.store.change(id, step).await?;
        self.inner
            .board
            .wrote(|shelf| &mut shelf.incidents, &stored);
        Ok(stored)
    }

    /// Plans a maintenance.
    ///
    /// # Errors
    /// [`StatusError`]; nothing is planned then.
    pub async fn plan_maintenance(
        &self,
        by: &Actor,
        new: &NewMaintenance,
    ) -> Result<Stored<Maintenance>, StatusError> {
        let (at, shelf) = (now(), self.shelf());
        let current = shelf
            .maintenance
            .values()
            .filter(|m| m.value.over_at() > at);
        bounded(current.count(), CURRENT_MAX, "maintenance windows ahead")?;
        let planned = Maintenance::plan(new, &fresh_id(at), &by.name, at)?;
        let record = records::maintenance("maintenance_planned", &planned, &by.name, at);
        let stored = self.create(&planned, Some(record)).await?;
        self.inner
            .board
            .wrote(|shelf| &mut shelf.maintenance, &stored);
        Ok(stored)
    }

    /// Ends a maintenance early, or calls it off.
    ///
    /// # Errors
    /// [`StatusError`]; the maintenance stays as it is.
    pub async fn end_maintenance(
        &self,
        by: &Actor,
        id: &str,
    ) -> Result<Stored<Maintenance>, StatusError> {
        let id = known_id::<Maintenance>(id)?;
        let at = now();
        let step = |maintenance: &Stored<Maintenance>| {
            let next = maintenance.value.ended(&by.name, at)?;
            let record = records::maintenance("maintenance_ended", &next, &by.name, at);
            Ok((next, vec![record]))
        };
        let stored = self.inner.store.change(id, step).await?;
        self.inner
            .board
            .wrote(|shelf| &mut shelf.maintenance, &stored);
        Ok(stored)
    }

    /// Announces something.
    ///
    /// # Errors
    /// [`StatusError`]; nothing is announced then.
    pub async fn announce(
        &self,
        by: &Actor,
        new: &NewAnnouncement,
    ) -> Result<Stored<Announcement>, StatusError> {
        let (at, shelf) = (now(), self.shelf());
        let current = shelf
            .announcements
            .values()
            .filter(|a| a.value.is_current(at));
        bounded(current.count(), CURRENT_MAX, "announcements")?;
        let missing = new
            .pages
            .iter()
            .find(|slug| !shelf.pages.contains_key(slug.as_str()));
        if let Some(slug) = missing {
            return Err(Refusal::UnknownPage(slug.to_string()).into());
        }
        let made = Announcement::make(new, &fresh_id(at), &by.name, at)?;
        let record = records::announcement("announcement_made", &made, &by.name, at);
        let stored = self.create(&made, Some(record)).await?;
        self.inner
            .board
            .wrote(|shelf| &mut shelf.announcements, &stored);
        Ok(stored)
    }

    /// Takes an announcement back.
    ///
    /// # Errors
    /// [`StatusError`]; the announcement stays.
    pub async fn withdraw(
        &self,
        by: &Actor,
        id: &str,
    ) -> Result<Stored<Announcement>, StatusError> {
        let id = known_id::<Announcement>(id)?;
        let at = now();
        let step = |announcement: &Stored<Announcement>| {
            let next = announcement.value.withdrawn(at)?;
            let record = records::announcement("announcement_withdrawn", &next, &by.name, at);
            Ok((next, vec![record]))
        };
        let stored = self.inner.store.change(id, step).await?;
        self.inner
            .board
            .wrote(|shelf| &mut shelf.announcements, &stored);
        Ok(stored)
    }

    /// Writes something under a fresh identity.
    async fn create<T: super::keys::Kept>(
        &self,
        value: &T,
        record: Option<galera::record::audit::Record>,
    ) -> Result<Stored<T>, StatusError> {
        let records: Vec<_> = record.into_iter().collect();
        let stored = self.inner.store.create(value, Vec::new(), &records).await?;
        // Somebody else drew the same identity in the same millisecond.
        stored.ok_or(StatusError::Contended)
    }

    fn wrote_page(&self, stored: Stored<Page>) -> Stored<Page> {
        self.inner.board.wrote(|shelf| &mut shelf.pages, &stored);
        stored
    }
}

fn bounded(count: usize, limit: usize, what: &'static str) -> Result<(), Refusal> {
    if count < limit {
        return Ok(());
    }
    Err(Refusal::TooMany { what, limit })
}

/// `id` when it may be an identity: what a person sends becomes part of a key.
fn known_id<T: super::keys::Kept>(id: &str) -> Result<&str, StatusError> {
    if is_id(id) {
        Ok(id)
    } else {
        Err(unknown::<T>(id))
    }
}
