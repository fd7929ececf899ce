#!/bin/bash

TOKEN="your-jwt-token"

while true; do
  clear
  echo "StreamSpace Agent Health Dashboard"
  echo "=================================="
  echo ""

  # Get agent stats
  curl -s -H "Authorization: Bearer $TOKEN" \
    https://streamspace.example.com/api/v1/agents/stats \
    | jq -r '"Total Agents: \(.total_agents)\nOnline: \(.online_agents)\nOffline: \(.offline_agents)\nDraining: \(.draining_agents)\n\nUtilization: \(.utilization.percentage)%\nSessions: \(.total_capacity.current_sessions) / \(.total_capacity.max_sessions)"'

  echo ""
  echo "Agents:"
  echo "-------"

  # List all agents
  curl -s -H "Authorization: Bearer $TOKEN" \
    https://streamspace.example.com/api/v1/agents \
    | jq -r '.agents[] | "\(.agent_id) (\(.platform)) - \(.status) - Sessions: \(.capacity.current_sessions)/\(.capacity.max_sessions)"'

  sleep 5
done
