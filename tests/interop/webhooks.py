"""Signs messages with PyPI's standardwebhooks; speaks the lines of webhooks.mjs."""

import json
import sys
from datetime import datetime, timezone

from standardwebhooks import Webhook

for line in sys.stdin:
    asked = json.loads(line)
    when = datetime.fromtimestamp(asked["at"], timezone.utc)
    signature = Webhook(asked["secret"]).sign(asked["id"], when, asked["body"])
    print(json.dumps({"signatures": [signature]}), flush=True)
