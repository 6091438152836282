//! The region's `PostgreSQL`, by `CloudNativePG`.

use serde_json::json;

use super::{File, POSTGRES, metadata};
use crate::registry::Region;

/// The plugin by which backups and the log go to an object store.
const BARMAN: &str = "barman-cloud.cloudnative-pg.io";

pub(super) fn postgres(region: &Region) -> File {
    let mut objects = Vec::new();
    if let Some(postgres) = &region.kubernetes.postgres {
        // What was acknowledged is on two servers, so no fail-over loses it. With two servers in all, waiting for a
        // second one that is away would stop the region instead.
        let durability = if postgres.instances > 2 {
            "required"
        } else {
            "preferred"
        };
        let mut cluster = json!({
            "apiVersion": "postgresql.cnpg.io/v1",
            "kind": "Cluster",
            "metadata": metadata(POSTGRES),
            "spec": {
                "imageName": postgres.image,
                "instances": postgres.instances,
                // The Job `prepare` makes roles and database as it.
                "enableSuperuserAccess": true,
                "storage": {"size": postgres.storage, "storageClass": postgres.storage_class},
                "affinity": {
                    "enablePodAntiAffinity": true,
                    "topologyKey": "topology.kubernetes.io/zone",
                },
                "postgresql": {
                    "synchronous": {"method": "any", "number": 1, "dataDurability": durability},
                },
            },
        });
        if let Some(store) = &postgres.backup_store
            && let Some(spec) = cluster
                .pointer_mut("/spec")
                .and_then(|spec| spec.as_object_mut())
        {
            let plugins = json!([{
                "name": BARMAN,
                "isWALArchiver": true,
                "parameters": {"barmanObjectName": store},
            }]);
            spec.insert("plugins".to_owned(), plugins);
        }
        objects.push(cluster);
        if postgres.backup_store.is_some() {
            objects.push(json!({
                "apiVersion": "postgresql.cnpg.io/v1",
                "kind": "ScheduledBackup",
                "metadata": metadata(POSTGRES),
                "spec": {
                    // Seconds first: at 18:00 UTC, which is night in Asia.
                    "schedule": "0 0 18 * * *",
                    "immediate": true,
                    "backupOwnerReference": "self",
                    "cluster": {"name": POSTGRES},
                    "method": "plugin",
                    "pluginConfiguration": {"name": BARMAN},
                },
            }));
        }
    }
    File {
        name: "postgres.yaml",
        about: "PostgreSQL, by CloudNativePG. Its log goes to the object store as it is written, if there is one, so the\n\
                database can be had back as it was at any moment.",
        objects,
    }
}
