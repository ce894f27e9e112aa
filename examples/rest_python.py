"""Keep a small game's state with the official Twilio helper library: ``pip install twilio``.

Start a server with ``starlings serve --data DIR``, then run this with the path of that directory.
"""

import json
import sys
from pathlib import Path

from twilio.base.exceptions import TwilioRestException
from twilio.rest import Client

credentials = json.loads((Path(sys.argv[1]) / "credentials.json").read_text())
client = Client(credentials["account_sid"], credentials["auth_token"])
client.sync.base_url = sys.argv[2] if len(sys.argv) > 2 else "http://127.0.0.1:8080"
sync = client.sync.v1.services("default")

game = sync.documents.create(data={"state": "open"}, ttl=3600)
print("document", game.sid, "revision", game.revision, game.data)

try:  # a write that must not overwrite somebody else's
    game = sync.documents(game.sid).update(data={"state": "started"}, if_match=game.revision)
    sync.documents(game.sid).update(data={"state": "lost"}, if_match="0")
except TwilioRestException as refusal:
    print("refused:", refusal.code, refusal.msg)

scores = sync.sync_maps(sync.sync_maps.create(ttl=3600).sid).sync_map_items
for player, points in {"bob": 3, "alice": 7, "carol": 5}.items():
    scores.create(key=player, data={"points": points})
for score in scores.list(order="desc"):
    print(f"{score.key:8} {score.data['points']}")
