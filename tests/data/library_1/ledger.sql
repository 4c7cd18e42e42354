BEGIN TRANSACTION;
CREATE TABLE changes (
    id INTEGER PRIMARY KEY AUTOINCREMENT, run INTEGER NOT NULL, owner TEXT NOT NULL, photo BLOB NOT NULL,
    target BLOB NOT NULL, state TEXT NOT NULL, before_hash BLOB, before_mode INTEGER, before_mtime_ns INTEGER,
    after_hash BLOB NOT NULL, undo BLOB, ours TEXT NOT NULL, tags TEXT NOT NULL, model TEXT NOT NULL,
    time REAL NOT NULL);
INSERT INTO "changes" VALUES(1,1,'9d5ef1a02791443fafb3fa23ebc2029b',X'6461792F6F6E652E6A7067',X'6461792F6F6E652E6A70672E786D70','done',NULL,NULL,NULL,X'3664276A7088B16E0580C4CD4206EDF78364ED777B02062A734E250B59FC4730',NULL,'{"keywords": ["Eiffel Tower", "Paris", "France"], "hierarchy": ["Places|France|Paris|Eiffel Tower"], "tag_paths": ["Places/France/Paris/Eiffel Tower"], "locations": [{"name": "Eiffel Tower", "city": "Paris", "country": "France", "country_code": "FR", "latitude": 48.8583, "longitude": 2.2944, "identifier": "http://www.wikidata.org/entity/Q243"}]}','[{"name": "Eiffel Tower", "level": "landmark", "probability": 0.9, "place": {"key": "eiffel_tower", "name": "Eiffel Tower", "city": "Paris", "country": "France", "country_code": "FR", "kind": "tower", "latitude": 48.8583, "longitude": 2.2944, "wikidata": "Q243"}, "class_name": "eiffel_tower"}]','old',1.79580179020452117919e+09);
INSERT INTO "changes" VALUES(2,1,'9d5ef1a02791443fafb3fa23ebc2029b',X'6461792F74776F2E6A7067',X'6461792F74776F2E6A70672E786D70','done',X'CD4CAE50FC1F1CA415AE61560673065983301299E783BFD52B663470E304FF9A',33188,1795801790140829380,X'EA63447023E8FE7A0068CFD6AF8077A0EFC061A5C3BECA87B178E902C52640BF',X'789C636080803B50FA3F143840F936FA452969564E89E97636FA29C956C5A54959A9C92576106197D4E2E4A2CC8292CCFC3CA848908B1B90556155915B909B5A9268C7050081E51ED7','{"keywords": ["Eiffel Tower", "Paris", "France"], "hierarchy": ["Places|France|Paris|Eiffel Tower"], "tag_paths": ["Places/France/Paris/Eiffel Tower"], "locations": [{"name": "Eiffel Tower", "city": "Paris", "country": "France", "country_code": "FR", "latitude": 48.8583, "longitude": 2.2944, "identifier": "http://www.wikidata.org/entity/Q243"}]}','[{"name": "Eiffel Tower", "level": "landmark", "probability": 0.9, "place": {"key": "eiffel_tower", "name": "Eiffel Tower", "city": "Paris", "country": "France", "country_code": "FR", "kind": "tower", "latitude": 48.8583, "longitude": 2.2944, "wikidata": "Q243"}, "class_name": "eiffel_tower"}]','old',1.79580179020489692689e+09);
CREATE TABLE claims (photo BLOB PRIMARY KEY, owner TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE photos (
    photo BLOB PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, sha256 BLOB NOT NULL,
    key TEXT NOT NULL, state TEXT NOT NULL, reason TEXT, time REAL NOT NULL) WITHOUT ROWID;
INSERT INTO "photos" VALUES(X'6461792F6F6E652E6A7067',633,1795801790140190753,X'FA6C25CCCFF16C7E1F7AAA5C30856B5DB077950D6ECFCC09C78C814D6A72E969','old sidecar-full','done',NULL,1.79580179023547959328e+09);
INSERT INTO "photos" VALUES(X'6461792F74776F2E6A7067',633,1795801790140560776,X'B62F0E7961C596406C1E65AA6FF71B3DCB9C0035637A65A3C00F2522A1E99D95','old sidecar-full','done',NULL,1.79580179021592664721e+09);
CREATE TABLE runs (
    id INTEGER PRIMARY KEY, kind TEXT NOT NULL, model TEXT NOT NULL, owner TEXT NOT NULL, host TEXT NOT NULL,
    started REAL NOT NULL, finished REAL);
INSERT INTO "runs" VALUES(1,'tag','old','9d5ef1a02791443fafb3fa23ebc2029b','laptop',1.79580179019967770578e+09,1.79580179021930360794e+09);
CREATE TABLE verdicts (
    photo BLOB NOT NULL, sha256 BLOB, name TEXT NOT NULL, verdict TEXT NOT NULL, tag TEXT, time REAL NOT NULL,
    PRIMARY KEY (photo, name)) WITHOUT ROWID;
INSERT INTO "verdicts" VALUES(X'6461792F6F6E652E6A7067',X'FA6C25CCCFF16C7E1F7AAA5C30856B5DB077950D6ECFCC09C78C814D6A72E969','eiffel tower','confirmed','[{"name": "Eiffel Tower", "level": "landmark", "probability": 0.9, "place": {"key": "eiffel_tower", "name": "Eiffel Tower", "city": "Paris", "country": "France", "country_code": "FR", "kind": "tower", "latitude": 48.8583, "longitude": 2.2944, "wikidata": "Q243"}, "class_name": "eiffel_tower"}]',1.79580179023930454253e+09);
CREATE INDEX photos_by_state ON photos (state, photo) WHERE state <> 'done';
CREATE INDEX changes_by_target ON changes (target, id);
CREATE INDEX changes_by_photo ON changes (photo, id);
CREATE INDEX changes_by_run ON changes (run, id);
CREATE INDEX changes_open ON changes (state) WHERE state IN ('writing', 'undoing');
CREATE INDEX verdicts_by_content ON verdicts (sha256);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('changes',2);
COMMIT;
PRAGMA user_version=1;
