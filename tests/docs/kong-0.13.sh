# The commands of the plugin's documentation for Kong 0.13. Before a command stands its name, which is the bucket that
# the test gives it, and the status that the documentation promises. tests/tests/plugin_api.rs runs them as they are: only host
# and port, what stands in braces, and YOUR_… are replaced.

# service 201
curl -X POST http://kong:8001/services/{service}/plugins \
    --data "name=runscope"  \
    --data "config.access_token=YOUR_ACCESS_TOKEN" \
    --data "config.bucket_key=YOUR_BUCKET_KEY"

# route 201
curl -X POST http://kong:8001/routes/{route_id}/plugins \
    --data "name=runscope"  \
    --data "config.access_token=YOUR_ACCESS_TOKEN" \
    --data "config.bucket_key=YOUR_BUCKET_KEY"

# api 201
curl -X POST http://kong:8001/apis/{api}/plugins/ \
    --data "name=runscope" \
    --data "config.bucket_key=YOUR_BUCKET_KEY" \
    --data "config.access_token=YOUR_ACCESS_TOKEN"

# consumer 201
curl -X POST http://kong:8001/plugins \
    --data "name=runscope" \
    --data "consumer_id={consumer_id}"  \
    --data "config.access_token=YOUR_ACCESS_TOKEN" \
    --data "config.bucket_key=YOUR_BUCKET_KEY"

# consumer-service 201
curl -X POST http://kong:8001/plugins \
    --data "name=runscope" \
    --data "consumer_id={consumer_id}" \
    --data "service_id={service_id}" \
    --data "config.access_token=YOUR_ACCESS_TOKEN" \
    --data "config.bucket_key=YOUR_BUCKET_KEY" \
    --data "config.log_body=true"

# consumer-route 201
curl -i -X POST --url http://kong:8001/plugins/ -F "name=runscope" -F "consumer_id={other_consumer_id}" -F "route_id={keyed_route_id}" -F "config.access_token=YOUR_ACCESS_TOKEN" -F "config.bucket_key=YOUR_BUCKET_KEY"

# global 201
curl -X POST http://kong:8001/plugins \
    --header "Content-Type: application/json" \
    --data '{"name": "runscope", "config": {"access_token": "YOUR_ACCESS_TOKEN", "bucket_key": "YOUR_BUCKET_KEY", "timeout": 5000, "keepalive": 60000}}'

# again 409
curl -X POST http://kong:8001/plugins \
    --data "name=runscope" \
    --data "config.access_token=YOUR_ACCESS_TOKEN" \
    --data "config.bucket_key=YOUR_BUCKET_KEY"

# incomplete 400
curl -X POST http://kong:8001/services/{service}/plugins --data "name=runscope"

# list 200
curl http://kong:8001/plugins

# enabled 200
curl http://kong:8001/plugins/enabled

# schema 200
curl http://kong:8001/plugins/schema/runscope
