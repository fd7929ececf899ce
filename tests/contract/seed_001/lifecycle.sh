#!/bin/bash

# 1. Login and get token
TOKEN=$(curl -s -X POST https://streamspace.example.com/api/v1/auth/login \
  -H "Content-Type: application/json" \
  -d '{"username":"admin","password":"password"}' \
  | jq -r .token)

echo "Logged in. Token: ${TOKEN:0:20}..."

# 2. List available templates
echo "\nAvailable templates:"
curl -s -H "Authorization: Bearer $TOKEN" \
  https://streamspace.example.com/api/v1/templates \
  | jq '.templates[] | {name, display_name, category}'

# 3. Create a session
echo "\nCreating session..."
SESSION_ID=$(curl -s -X POST \
  -H "Authorization: Bearer $TOKEN" \
  -H "Content-Type: application/json" \
  -d '{
    "user": "john.doe",
    "template": "firefox-browser",
    "state": "running",
    "resources": {
      "memory": "2Gi",
      "cpu": "1000m"
    }
  }' \
  https://streamspace.example.com/api/v1/sessions \
  | jq -r .id)

echo "Session created: $SESSION_ID"

# 4. Wait for session to be running
echo "\nWaiting for session to start..."
while true; do
  STATE=$(curl -s -H "Authorization: Bearer $TOKEN" \
    https://streamspace.example.com/api/v1/sessions/$SESSION_ID \
    | jq -r .state)

  if [ "$STATE" = "running" ]; then
    echo "Session is running!"
    break
  fi

  echo "Current state: $STATE"
  sleep 2
done

# 5. Get VNC URL
VNC_URL=$(curl -s -H "Authorization: Bearer $TOKEN" \
  https://streamspace.example.com/api/v1/sessions/$SESSION_ID \
  | jq -r .status.vnc_url)

echo "VNC URL: https://streamspace.example.com$VNC_URL"

# 6. Hibernate session
echo "\nHibernating session..."
curl -s -X PATCH \
  -H "Authorization: Bearer $TOKEN" \
  -H "Content-Type: application/json" \
  -d '{"state":"hibernated"}' \
  https://streamspace.example.com/api/v1/sessions/$SESSION_ID \
  | jq '{state, status}'

# 7. Wake session
echo "\nWaking session..."
curl -s -X PATCH \
  -H "Authorization: Bearer $TOKEN" \
  -H "Content-Type: application/json" \
  -d '{"state":"running"}' \
  https://streamspace.example.com/api/v1/sessions/$SESSION_ID \
  | jq '{state, status}'

# 8. Terminate session
echo "\nTerminating session..."
curl -s -X DELETE \
  -H "Authorization: Bearer $TOKEN" \
  https://streamspace.example.com/api/v1/sessions/$SESSION_ID

echo "Session terminated"

# 9. Logout
curl -s -X POST \
  -H "Authorization: Bearer $TOKEN" \
  https://streamspace.example.com/api/v1/auth/logout

echo "\nLogged out"
