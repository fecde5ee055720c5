PRAGMA application_id=1633839724;
PRAGMA user_version=1;
BEGIN TRANSACTION;
CREATE TABLE log (
        id INTEGER PRIMARY KEY, -- of an event: the event's id
        target INTEGER,         -- the target's number in the list
        kind TEXT NOT NULL,
        at TEXT NOT NULL,       -- ISO 8601, UTC
        data TEXT NOT NULL      -- JSON
    );
INSERT INTO "log" VALUES(1,NULL,'begun','2024-01-29T09:53:09+00:00','{"tenant":"example","base_url":"https://example.com","spec":{"mechanism":"logical","planetClass":"dev","temporary":true,"retentionPeriodInDays":3,"metadata":{"name":"asyncbackups","description":""}}}');
INSERT INTO "log" VALUES(2,0,'target','2024-01-29T09:53:09+00:00','["s0","p0"]');
INSERT INTO "log" VALUES(3,1,'target','2024-01-29T09:53:09+00:00','["s1","p1"]');
INSERT INTO "log" VALUES(4,2,'target','2024-01-29T09:53:09+00:00','["s0","p2"]');
INSERT INTO "log" VALUES(5,3,'target','2024-01-29T09:53:09+00:00','["s1","p3"]');
INSERT INTO "log" VALUES(6,4,'target','2024-01-29T09:53:09+00:00','["s0","p4"]');
INSERT INTO "log" VALUES(7,5,'target','2024-01-29T09:53:09+00:00','["s1","p5"]');
INSERT INTO "log" VALUES(8,6,'target','2024-01-29T09:53:09+00:00','["s0","p0"]');
INSERT INTO "log" VALUES(9,NULL,'listed','2024-01-29T09:53:09+00:00','');
INSERT INTO "log" VALUES(10,0,'intent','2024-01-29T09:53:09+00:00','{"key":"00000000000000000000000000000001"}');
INSERT INTO "log" VALUES(11,0,'created','2024-01-29T09:53:10+00:00','{"named":["s0",10],"adopted":null,"backup":{"completed_at":null,"database_to_application_builds":null,"display_status":null,"environment":null,"error_message":null,"expiration_date":null,"extra":{},"id":10,"mechanism":null,"started_at":null,"status":"queued","type":null},"possible_duplicate":false,"elapsed":0.5,"id":null,"planet":{"planet":"p0","star_system":"s0"},"polls":0,"ref":{"backup_id":10,"star_system":"s0"}}');
INSERT INTO "log" VALUES(12,0,'succeeded','2024-01-29T09:53:11+00:00','{"named":["s0",10],"backup":{"completed_at":null,"database_to_application_builds":null,"display_status":null,"environment":null,"error_message":null,"expiration_date":null,"extra":{},"id":10,"mechanism":null,"started_at":null,"status":"succeeded","type":null},"elapsed":2.5,"id":null,"planet":{"planet":"p0","star_system":"s0"},"polls":0,"ref":{"backup_id":10,"star_system":"s0"}}');
INSERT INTO "log" VALUES(13,1,'intent','2024-01-29T09:53:12+00:00','{"key":"00000000000000000000000000000002"}');
INSERT INTO "log" VALUES(14,1,'created','2024-01-29T09:53:13+00:00','{"named":["s1",11],"adopted":null,"backup":{"completed_at":null,"database_to_application_builds":null,"display_status":null,"environment":null,"error_message":null,"expiration_date":null,"extra":{},"id":11,"mechanism":null,"started_at":null,"status":"queued","type":null},"possible_duplicate":false,"elapsed":0.5,"id":null,"planet":{"planet":"p1","star_system":"s1"},"polls":0,"ref":{"backup_id":11,"star_system":"s1"}}');
INSERT INTO "log" VALUES(15,2,'intent','2024-01-29T09:53:14+00:00','{"key":"00000000000000000000000000000003"}');
INSERT INTO "log" VALUES(16,2,'create_failed','2024-01-29T09:53:15+00:00','{"elapsed":0.25,"error":{"type":"NotFoundError","args":["POST https://example.com/x: 404, not found"],"state":{"status":404,"method":"POST","url":"https://example.com/x","headers":{"Retry-After":"3"},"excerpt":"","attempt":1,"retry_after":null,"repeated":false}},"id":null,"planet":{"planet":"p2","star_system":"s0"},"polls":0}');
INSERT INTO "log" VALUES(17,3,'intent','2024-01-29T09:53:16+00:00','{"key":"00000000000000000000000000000004"}');
INSERT INTO "log" VALUES(18,3,'created','2024-01-29T09:53:17+00:00','{"named":["s1",13],"adopted":null,"backup":{"completed_at":null,"database_to_application_builds":null,"display_status":null,"environment":null,"error_message":null,"expiration_date":null,"extra":{},"id":13,"mechanism":null,"started_at":null,"status":"queued","type":null},"possible_duplicate":false,"elapsed":0.5,"id":null,"planet":{"planet":"p3","star_system":"s1"},"polls":0,"ref":{"backup_id":13,"star_system":"s1"}}');
INSERT INTO "log" VALUES(19,3,'unchecked','2024-01-29T09:53:18+00:00','{"named":["s1",13],"backup":{"completed_at":null,"database_to_application_builds":null,"display_status":null,"environment":null,"error_message":null,"expiration_date":null,"extra":{"zone":1},"id":13,"mechanism":null,"started_at":null,"status":"in_progress","type":null},"error":{"type":"PermissionDeniedError","args":["403, not in the access group: these credentials may not do this"],"state":{"status":403,"method":"","url":"","headers":{},"excerpt":"","attempt":1,"retry_after":null,"repeated":false}},"elapsed":0.0,"id":null,"planet":{"planet":"p3","star_system":"s1"},"polls":0,"ref":{"backup_id":13,"star_system":"s1"}}');
INSERT INTO "log" VALUES(20,6,'create_failed','2024-01-29T09:53:19+00:00','{"elapsed":0.0,"error":{"type":"ConfigurationError","args":["s0/p0 is listed twice among the targets: it gets one backup"],"state":{}},"id":null,"planet":{"planet":"p0","star_system":"s0"},"polls":0}');
INSERT INTO "log" VALUES(21,4,'intent','2024-01-29T09:53:20+00:00','{"key":"00000000000000000000000000000005"}');
INSERT INTO "log" VALUES(22,NULL,'acknowledged','2024-01-29T09:53:21+00:00','14');
COMMIT;
