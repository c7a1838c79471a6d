# The same commands as the documentation of today's Kong has them for any plugin, for the plugin runscope. See kong-0.13.sh.

# service 201
curl -X POST http://localhost:8001/services/{service}/plugins/ \
    --header "accept: application/json" \
    --header "Content-Type: application/json" \
    --data '{"name": "runscope", "config": {"access_token": "YOUR_ACCESS_TOKEN", "bucket_key": "YOUR_BUCKET_KEY"}}'

# route 201
curl -X POST http://localhost:8001/routes/{route}/plugins \
    --data "name=runscope"  \
    --data "config.access_token=YOUR_ACCESS_TOKEN" \
    --data "config.bucket_key=YOUR_BUCKET_KEY"

# consumer 201
curl -X POST http://localhost:8001/consumers/{consumer}/plugins \
    --data "name=runscope"  \
    --data "config.access_token=YOUR_ACCESS_TOKEN" \
    --data "config.bucket_key=YOUR_BUCKET_KEY"

# consumer-service 201
curl -X POST http://localhost:8001/plugins \
    --data "name=runscope" \
    --data "service.id={service_id}" \
    --data "consumer.id={consumer_id}" \
    --data "config.access_token=YOUR_ACCESS_TOKEN" \
    --data "config.bucket_key=YOUR_BUCKET_KEY" \
    --data "config.log_body=true"

# consumer-route 201
curl -i -X POST http://localhost:8001/plugins -F name=runscope -F route.id={keyed_route_id} -F consumer.id={other_consumer_id} -F config.access_token=YOUR_ACCESS_TOKEN -F config.bucket_key=YOUR_BUCKET_KEY

# global 201
curl -X POST http://localhost:8001/plugins/ \
    --data "name=runscope"  \
    --data "config.access_token=YOUR_ACCESS_TOKEN" \
    --data "config.bucket_key=YOUR_BUCKET_KEY" \
    --data "config.timeout=5000" \
    --data "config.keepalive=60000"

# again 409
curl -X POST http://localhost:8001/plugins/ \
    --data "name=runscope"  \
    --data "config.access_token=YOUR_ACCESS_TOKEN" \
    --data "config.bucket_key=YOUR_BUCKET_KEY"

# incomplete 400
curl -X POST http://localhost:8001/services/{service}/plugins --data "name=runscope"

# list 200
curl http://localhost:8001/plugins

# enabled 200
curl http://localhost:8001/plugins/enabled

# schema 200
curl http://localhost:8001/schemas/plugins/runscope
